// What the agent tells of the host, of its containers and of itself, for the API and the metrics.
#include <charconv>
#include <map>
#include <set>

#include "agent/agent.h"
#include "agent/driver.h"
#include "agent/mount_facts.h"
#include "agent/network_facts.h"
#include "exporters/compose_labels.h"
#include "exporters/metrics_text.h"
#include "runtime/host_info.h"
#include "runtime/keeper_client.h"
#include "runtime/linux_engine.h"
#include "runtime/loop.h"
#include "runtime/network/interface_counters.h"

namespace keepwell {

namespace {

VersionFacts version_facts(const HostInfo& host) {
  VersionFacts facts;
  facts.version = KEEPWELL_VERSION;
  facts.arch = host.machine == "x86_64"    ? "amd64"
               : host.machine == "aarch64" ? "arm64"
                                           : host.machine;
  facts.kernel = host.kernel;
  facts.libuv = libuv_version();
  return facts;
}

}  // namespace

RuntimeFacts Agent::facts(const ContainerStatus& status) {
  RuntimeFacts facts;
  facts.log_path = engine_->log_path(status.id);
  facts.project_file = accepted_->file;
  std::string& hash = config_hashes_[status.spec];
  if (hash.empty()) hash = config_hash(*status.spec);
  facts.config_hash = hash;
  facts.image_id = status.spec->image_id;
  facts.shared_network = engine_->network_shared_with(status.id);
  facts.sandbox_key = engine_->network_namespace(status.id);
  // Of one that shares a network, they are shown with the other.
  add_network_facts(*status.spec, status.id, accepted_->run_dir,
                    facts.shared_network.empty() ? engine_->networks(status.id) : nullptr,
                    status.pid != 0, facts);
  if (status.spec->runtime == RuntimeKind::oci) {
    facts.oci_runtime = engine_->runtime_name().substr(0, engine_->runtime_name().find(' '));
    facts.driver = status.spec->image_id.empty() ? "rootfs" : "overlay2";
    facts.mounts = mount_facts(*status.spec, status.name, accepted_->data_dir + "/volumes");
  }
  return facts;
}

HostFacts Agent::host() const {
  HostInfo info = read_host_info();
  HostFacts facts;
  facts.version = version_facts(info);
  facts.host_id = info.machine_id;
  facts.hostname = info.hostname;
  facts.cpus = info.cpus;
  facts.memory_bytes = info.memory_bytes;
  facts.operating_system = info.operating_system;
  facts.architecture = info.machine;
  facts.cgroup_driver = "cgroupfs";
  facts.cgroup_version = info.cgroup_v2 ? 2 : 1;
  facts.data_dir = accepted_->data_dir;
  std::string runtime = engine_->runtime_name();
  facts.default_runtime = runtime.empty() ? "process" : runtime.substr(0, runtime.find(' '));
  if (!runtime.empty()) {
    facts.version.components[facts.default_runtime] = runtime;
    const std::size_t path = runtime.rfind('(') + 1;
    facts.runtimes[facts.default_runtime] = runtime.substr(path, runtime.size() - path - 1);
  }
  facts.security_options = {"name=seccomp,profile=builtin"};
  facts.open_fds = static_cast<int>(read_self_usage().open_fds);
  facts.now = Loop::now().wall;
  return facts;
}

std::string Agent::metrics(const std::string& accept, std::string& content_type) {
  SelfUsage usage = read_self_usage();
  stats_.process = ProcessStats{.cpu_seconds = usage.cpu_seconds,
                                .resident_bytes = usage.resident_bytes,
                                .virtual_bytes = usage.virtual_bytes,
                                .open_fds = usage.open_fds,
                                .max_fds = usage.max_fds,
                                .start_time_seconds = usage.start_time_seconds};
  stats_.state_write_failures_total = store_.write_failures() + event_log_.write_failures();
  fill_guard_stats();
  stats_.probe_lateness = driver_->supervisor().probe_lateness();
  stats_.probes_in_flight = driver_->supervisor().probes_in_flight();
  stats_.probes_waiting = driver_->supervisor().probes_waiting();
  MetricsFormat format = metrics_format_for(accept);
  content_type = metrics_content_type(format);
  std::vector<const ContainerStatus*> containers = driver_->supervisor().containers();
  std::set<std::string> ids;
  for (const ContainerStatus* container : containers) ids.insert(container->id);
  logs_.keep(ids);
  usage_.refresh(
      containers, [this](const ContainerStatus& container) { return measure(container); },
      [this](const ContainerStatus& container) {
        if (auto counters = engine_->log_counters(container.id)) logs_.see(container.id, *counters);
      },
      [] { return Loop::now().mono; });
  stats_.log = logs_.totals();
  return render_metrics({.containers = containers,
                         .agent = &stats_,
                         .spec = accepted_->metrics,
                         .usage = [this](const ContainerStatus& c) { return usage_.find(c); }},
                        format);
}

Result<ServiceUsage> Agent::measure(const ContainerStatus& status) const {
  std::optional<std::uint64_t> received, transmitted;
  for (const auto& [name, counters] : engine_->network_counters(status.id)) {
    received = received.value_or(0) + counters.rx_bytes;
    transmitted = transmitted.value_or(0) + counters.tx_bytes;
  }
  Result<CgroupStats> read = engine_->stats(status.id);
  if (!read && received) {
    ServiceUsage usage;
    usage.of_cgroup = false;
    usage.network_receive_bytes = received;
    usage.network_transmit_bytes = transmitted;
    return usage;
  }
  if (!read) return fail(read.error());
  auto seconds = [](Duration value) { return std::chrono::duration<double>(value).count(); };
  auto waited = [&](const std::optional<Pressure>& pressure) {
    return pressure ? std::optional(seconds(pressure->total)) : std::nullopt;
  };
  return ServiceUsage{
      .cpu_seconds = seconds(read->cpu),
      .cpu_throttled_seconds = seconds(read->cpu_throttled),
      .memory_bytes = read->memory_bytes,
      .memory_working_set_bytes =
          read->memory_bytes - std::min(read->memory_bytes, read->memory_inactive_file_bytes),
      .memory_limit_bytes = read->memory_limit_bytes,
      .processes = read->pids,
      .oom_kills = read->oom_kills,
      .network_receive_bytes = received,
      .network_transmit_bytes = transmitted,
      .cpu_pressure_seconds = waited(read->cpu_pressure),
      .memory_pressure_seconds = waited(read->memory_pressure),
      .io_pressure_seconds = waited(read->io_pressure)};
}

Result<ContainerStats> Agent::sample(const ContainerStatus& status) const {
  Result<CgroupStats> read = engine_->stats(status.id);
  if (!read) return fail(read.error());
  HostInfo info = read_host_info();
  auto ns = [](Duration value) { return static_cast<std::uint64_t>(value.count()); };
  ContainerStats stats;
  stats.at = Loop::now().wall;
  stats.cpu_ns = ns(read->cpu);
  stats.cpu_user_ns = ns(read->cpu_user);
  stats.cpu_kernel_ns = ns(read->cpu_system);
  stats.throttled_ns = ns(read->cpu_throttled);
  stats.system_cpu_ns = read_system_cpu_ns();
  stats.online_cpus = info.cpus;
  stats.memory_bytes = read->memory_bytes;
  stats.memory_limit_bytes = read->memory_limit_bytes.value_or(info.memory_bytes);
  stats.memory_stats[info.cgroup_v2 ? "inactive_file" : "total_inactive_file"] =
      read->memory_inactive_file_bytes;
  stats.cgroup_v2 = info.cgroup_v2;
  stats.oom_kills = read->oom_kills;
  auto add_pressure = [&stats](const char* name, const std::optional<Pressure>& pressure) {
    if (pressure) stats.pressure[name] = {pressure->avg10, pressure->total};
  };
  add_pressure("cpu", read->cpu_pressure);
  add_pressure("memory", read->memory_pressure);
  add_pressure("io", read->io_pressure);
  stats.pids = read->pids;
  stats.pids_limit = read->pids_limit.value_or(0);
  for (const auto& [name, c] : engine_->network_counters(status.id)) {
    stats.networks[name] = {c.rx_bytes, c.rx_packets, c.rx_errors, c.rx_dropped,
                            c.tx_bytes, c.tx_packets, c.tx_errors, c.tx_dropped};
  }
  stats.block.push_back({.read_bytes = read->io_read_bytes, .write_bytes = read->io_write_bytes});
  return stats;
}

}  // namespace keepwell
