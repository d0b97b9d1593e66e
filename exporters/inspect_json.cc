// The key order is that of dockerd 28. Keys that Docker has and keepwell has nothing to say to keep
// Docker's own empty value (null, [] or {}): clients decode into typed structs.
#include "exporters/inspect_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/check.h"
#include "exporters/health_json.h"
#include "exporters/network_json.h"
#include "exporters/time_text.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

bool never_ran(const ContainerStatus& c) { return c.state == ServiceState::created && !c.started; }
bool restarting(const ContainerStatus& c) {
  return c.state == ServiceState::restarting || c.state == ServiceState::backoff;
}
// As Docker counts: true while paused and in the wait between two runs.
bool running(const ContainerStatus& c) {
  return c.state != ServiceState::created && c.state != ServiceState::exited &&
         c.state != ServiceState::failed;
}
int shown_exit_code(const ContainerStatus& c) { return c.pid != 0 ? 0 : c.exit_code; }

const std::string& either(const std::string& first, const std::string& second) {
  return first.empty() ? second : first;
}

std::int64_t checks_paused(const ContainerStatus& c) {
  return std::count_if(c.checks.begin(), c.checks.end(),
                       [](const CheckStatus& check) { return check.paused_by_hand; });
}

ordered_json list_or_null(const std::vector<std::string>& list) {
  return list.empty() ? ordered_json(nullptr) : ordered_json(list);
}

std::string image_id(const RuntimeFacts& facts) { return facts.image_id; }

std::vector<std::string> argv_of(const ContainerStatus& c, const RuntimeFacts& facts) {
  return facts.argv.empty() ? c.spec->argv() : facts.argv;
}

const char* policy_name(RestartPolicy policy) {
  switch (policy) {
    case RestartPolicy::no:
      return "no";
    case RestartPolicy::always:
      return "always";
    case RestartPolicy::on_failure:
      return "on-failure";
    case RestartPolicy::unless_stopped:
      return "unless-stopped";
  }
  KW_CHECK(false);
}

ordered_json state_object(const ContainerStatus& c) {
  ordered_json state = {{"Status", api_status(c.state)},
                        {"Running", running(c)},
                        {"Paused", c.state == ServiceState::paused},
                        {"Restarting", restarting(c)},
                        {"OOMKilled", c.oom_killed},
                        {"Dead", false},
                        {"Pid", c.pid},
                        {"ExitCode", shown_exit_code(c)},
                        {"Error", c.error},
                        {"StartedAt", rfc3339_nano(c.started)},
                        {"FinishedAt", rfc3339_nano(c.finished)}};
  if (has_health(c)) state["Health"] = health_object(c);
  return state;
}

ordered_json ulimits_array(const ServiceSpec& spec) {
  if (spec.ulimits.empty()) return nullptr;
  ordered_json all = ordered_json::array();
  for (const Ulimit& limit : spec.ulimits) {
    all.push_back({{"Name", limit.name}, {"Hard", limit.hard}, {"Soft", limit.soft}});
  }
  return all;
}

ordered_json security_options(const ServiceSpec& spec) {
  std::vector<std::string> options;
  if (spec.no_new_privileges) options.emplace_back("no-new-privileges");
  if (!spec.seccomp.empty()) options.push_back("seccomp=" + spec.seccomp);
  if (!spec.apparmor.empty()) options.push_back("apparmor=" + spec.apparmor);
  if (spec.unmasked) options.emplace_back("systempaths=unconfined");
  return list_or_null(options);
}

ordered_json log_config(const LoggingSpec& logging) {
  return {{"Type", logging.driver},
          {"Config",
           {{"max-file", std::to_string(logging.files_max)},
            {"max-size", std::to_string(logging.file_bytes_max)}}}};
}

// What the container may use and do.
ordered_json extra_hosts(const ServiceSpec& spec) {
  ordered_json list = nullptr;
  for (const auto& [name, address] : spec.extra_hosts) list.push_back(name + ":" + address);
  return list;
}

ordered_json devices_array(const ServiceSpec& spec) {
  ordered_json list = ordered_json::array();
  for (const DeviceSpec& device : spec.devices) {
    list.push_back({{"PathOnHost", device.source},
                    {"PathInContainer", device.target},
                    {"CgroupPermissions", device.permissions}});
  }
  return list;
}

void add_limits(ordered_json& host, const ServiceSpec& spec) {
  host["CapAdd"] = list_or_null(spec.cap_add);
  host["CapDrop"] = list_or_null(spec.cap_drop);
  const bool own = spec.runtime == RuntimeKind::oci;  // namespaces
  host["CgroupnsMode"] = own ? either(spec.cgroup_mode, "private") : "host";
  host["Dns"] = spec.dns;
  host["DnsOptions"] = spec.dns_opt;
  host["DnsSearch"] = spec.dns_search;
  host["ExtraHosts"] = extra_hosts(spec);
  host["GroupAdd"] = list_or_null(spec.group_add);
  host["IpcMode"] = own ? either(spec.ipc_mode, "private") : "host";
  host["Cgroup"] = "";
  host["Links"] = nullptr;
  host["OomScoreAdj"] = spec.oom_score_adj.value_or(0);
  host["PidMode"] = own ? spec.pid_mode : "host";
  host["Privileged"] = spec.privileged;
  host["PublishAllPorts"] = false;
  host["ReadonlyRootfs"] = spec.read_only;
  host["SecurityOpt"] = security_options(spec);
  host["UTSMode"] = spec.uts_mode;
  host["UsernsMode"] = "";
  host["ShmSize"] = spec.shm_bytes;
  if (!spec.sysctls.empty()) host["Sysctls"] = spec.sysctls;
  if (!spec.annotations.empty()) host["Annotations"] = spec.annotations;
}

void add_resources(ordered_json& host, const ServiceSpec& spec, const RuntimeFacts& facts) {
  host["Runtime"] = spec.runtime == RuntimeKind::process ? "process" : facts.oci_runtime;
  host["Isolation"] = "";
  host["CpuShares"] = spec.cpu_shares;
  host["Memory"] = spec.memory_bytes;
  host["NanoCpus"] = static_cast<std::int64_t>(spec.cpus * 1e9);
  host["CgroupParent"] = "";
  host["CpuPeriod"] = 0;
  host["CpuQuota"] = 0;
  host["CpusetCpus"] = spec.cpuset;
  host["CpusetMems"] = "";
  host["Devices"] = devices_array(spec);
  if (!spec.device_cgroup_rules.empty()) host["DeviceCgroupRules"] = spec.device_cgroup_rules;
  host["MemoryReservation"] = spec.memory_reservation_bytes;
  host["MemorySwap"] = spec.memory_swap_bytes;
  if (spec.mem_swappiness) host["MemorySwappiness"] = *spec.mem_swappiness;
  host["OomKillDisable"] = spec.oom_kill_disable ? ordered_json(true) : ordered_json(nullptr);
  host["Init"] = spec.init;
  host["PidsLimit"] = spec.pids_limit > 0 ? ordered_json(spec.pids_limit) : ordered_json(nullptr);
  host["Ulimits"] = ulimits_array(spec);
}

ordered_json host_config(const ContainerStatus& c, const RuntimeFacts& facts) {
  const ServiceSpec& spec = *c.spec;
  const bool counts = spec.restart.policy == RestartPolicy::on_failure;
  ordered_json host = {
      {"Binds", bind_list(facts)},
      {"ContainerIDFile", ""},
      {"LogConfig", log_config(spec.logging)},
      {"NetworkMode", network_mode(spec, facts)},
      {"PortBindings", port_bindings(facts)},
      {"RestartPolicy",
       {{"Name", policy_name(spec.restart.policy)},
        {"MaximumRetryCount", counts ? spec.restart.max_attempts : 0}}},
      {"AutoRemove", false},
      {"VolumeDriver", ""},
      {"VolumesFrom", nullptr},
      {"ConsoleSize", {0, 0}},
  };
  add_limits(host, spec);
  add_resources(host, spec, facts);
  return host;
}

ordered_json healthcheck_object(const ServiceSpec& spec) {
  for (const CheckSpec& check : spec.checks) {
    if (check.name != kHealthcheckName) continue;
    ordered_json object = {{"Test", test_words(check)},
                           {"Interval", check.interval.count()},
                           {"Timeout", check.timeout.count()}};
    if (check.start_period.count() != 0) object["StartPeriod"] = check.start_period.count();
    object["StartInterval"] = check.start_interval.count();
    object["Retries"] = check.retries;
    return object;
  }
  return nullptr;
}

std::vector<std::string> environment_of(const ServiceSpec& spec, const RuntimeFacts& facts) {
  if (!facts.environment.empty()) return facts.environment;
  std::vector<std::string> all;
  all.reserve(spec.environment.size());
  for (const auto& [key, value] : spec.environment) {
    all.emplace_back(key).append("=").append(value);
  }
  return all;
}

// The image's VOLUMEs, as Docker shows them.
ordered_json volumes_object(const ServiceSpec& spec) {
  if (spec.image_volumes.empty()) return nullptr;
  ordered_json volumes = ordered_json::object();
  for (const std::string& path : spec.image_volumes) volumes[path] = ordered_json::object();
  return volumes;
}

ordered_json config_object(const ContainerStatus& c, const RuntimeFacts& facts) {
  const ServiceSpec& spec = *c.spec;
  ordered_json config = {
      {"Hostname", either(facts.hostname, either(spec.hostname, c.id.substr(0, 12)))},
      {"Domainname", spec.domainname},
      {"User", either(facts.user, spec.user)},
      {"AttachStdin", false},
      {"AttachStdout", true},
      {"AttachStderr", true},
      {"ExposedPorts", exposed_ports(facts)},
      {"Tty", spec.tty},
      {"OpenStdin", spec.stdin_open},
      {"StdinOnce", false},
      {"Env", environment_of(spec, facts)},
      {"Cmd", spec.command ? ordered_json(*spec.command) : ordered_json(nullptr)}};
  if (ordered_json check = healthcheck_object(spec); !check.is_null()) {
    config["Healthcheck"] = std::move(check);
  }
  config["Image"] = image_text(spec);
  config["Volumes"] = volumes_object(spec);
  config["WorkingDir"] = either(facts.working_dir, spec.working_dir);
  config["Entrypoint"] = spec.entrypoint ? ordered_json(*spec.entrypoint) : ordered_json(nullptr);
  config["OnBuild"] = nullptr;
  config["Labels"] = container_labels(c, facts);
  config["StopSignal"] =
      either(facts.stop_signal, spec.stop_signal.empty() ? "SIGTERM" : spec.stop_signal);
  config["StopTimeout"] = std::chrono::ceil<std::chrono::seconds>(spec.stop_grace_period).count();
  return config;
}

template <std::size_t N, class Reason>
ordered_json counts_object(const std::array<std::uint64_t, N>& counts, Reason) {
  ordered_json object = ordered_json::object();
  for (std::size_t i = 0; i < N; ++i) {
    if (counts[i] != 0) object[to_string(static_cast<Reason>(i))] = counts[i];
  }
  return object;
}

ordered_json last_restart(const ContainerStatus& c) {
  if (!c.last_restart_reason) return nullptr;
  return {{"Reason", to_string(*c.last_restart_reason)},
          {"At", rfc3339_nano(c.last_restart)},
          {"Detail", c.last_restart_detail}};
}

ordered_json hold_object(const ContainerStatus& c) {
  if (!c.held()) return nullptr;
  if (!c.hold) return {{"Reason", "a debugger is attached"}, {"Until", nullptr}};
  return {{"Reason", c.hold->reason},
          {"Since", rfc3339_nano(c.hold->since)},
          {"Until", rfc3339_nano(c.hold->until)}};
}

// What Docker has no word for.
ordered_json keepwell_object(const ContainerStatus& c, const RuntimeFacts& facts, Now now) {
  ordered_json checks = ordered_json::array();
  for (const CheckStatus& check : c.checks) checks.push_back(check_object(check, now));
  const bool waits = c.state == ServiceState::backoff && c.next_start_wall;
  return {
      {"Project", c.project},
      {"Service", c.spec->name},
      {"Replica", c.replica},
      {"Runtime", c.spec->runtime == RuntimeKind::oci ? "oci" : "process"},
      {"State", to_string(c.state)},
      {"Health", to_string(c.health)},
      {"Run", c.run},
      {"StartsTotal", c.starts_total},
      {"ExitStatusKnown", c.exit_known},
      {"StoppedByHand", c.stopped_by_hand},
      {"Hold", hold_object(c)},
      {"Incident", c.incident.empty() ? c.recovery : c.incident},
      {"LastRestart", last_restart(c)},
      {"NextStart", waits ? ordered_json(rfc3339_nano(*c.next_start_wall)) : ordered_json(nullptr)},
      {"Backoff", c.backoff.count()},
      {"RestartsTotal", counts_object(c.restarts_total, RestartReason{})},
      {"SuppressedTotal", counts_object(c.suppressed_total, SuppressReason{})},
      {"StopKillsTotal", c.stop_kills_total},
      {"CgroupPath", facts.cgroup_path},
      {"BundlePath", facts.bundle_path},
      {"Checks", std::move(checks)}};
}

ordered_json graph_driver(const RuntimeFacts& facts) {
  ordered_json data = nullptr;
  if (!facts.driver_data.empty()) data = facts.driver_data;
  return {{"Data", std::move(data)}, {"Name", facts.driver}};
}

void add_sizes(ordered_json& object, const RuntimeFacts& facts) {
  if (facts.size_rw) object["SizeRw"] = *facts.size_rw;
  if (facts.size_root_fs) object["SizeRootFs"] = *facts.size_root_fs;
}

}  // namespace

std::string inspect_json(const ContainerStatus& c, const RuntimeFacts& facts, Now now, bool size) {
  KW_CHECK(c.spec != nullptr);
  const std::vector<std::string> argv = argv_of(c, facts);
  ordered_json object = {
      {"Id", c.id},
      {"Created", rfc3339_nano(c.created)},
      {"Path", argv.empty() ? "" : argv[0]},
      {"Args", argv.empty() ? argv : std::vector<std::string>(argv.begin() + 1, argv.end())},
      {"State", state_object(c)},
      {"Image", image_id(facts)},
      {"ResolvConfPath", facts.resolv_conf_path},
      {"HostnamePath", facts.hostname_path},
      {"HostsPath", facts.hosts_path},
      {"LogPath", facts.log_path},
      {"Name", "/" + c.name},
      {"RestartCount", c.restart_count},
      {"Driver", facts.driver},
      {"Platform", facts.platform},
      {"MountLabel", facts.mount_label},
      {"ProcessLabel", facts.process_label},
      {"AppArmorProfile", facts.apparmor_profile},
      {"ExecIDs", list_or_null(facts.exec_ids)},
      {"HostConfig", host_config(c, facts)},
      {"GraphDriver", graph_driver(facts)}};
  if (size) add_sizes(object, facts);
  object["Mounts"] = mounts_array(facts);
  object["Config"] = config_object(c, facts);
  object["NetworkSettings"] = network_settings(c.spec->network_mode, facts);
  object["Keepwell"] = keepwell_object(c, facts, now);
  return json_text(object);
}

std::string list_entry_json(const ContainerStatus& c, const RuntimeFacts& facts, Now now,
                            bool size) {
  KW_CHECK(c.spec != nullptr);
  ordered_json object = {{"Id", c.id},
                         {"Names", {"/" + c.name}},
                         {"Image", image_text(*c.spec)},
                         {"ImageID", image_id(facts)},
                         {"Command", command_text(c, facts)},
                         {"Created", unix_seconds(c.created)},
                         {"Ports", ports_array(facts)}};
  if (size) add_sizes(object, facts);
  object["Labels"] = container_labels(c, facts);
  object["State"] = api_status(c.state);
  object["Status"] = status_text(c, now);
  object["HostConfig"] = {{"NetworkMode", network_mode(*c.spec, facts)}};
  object["NetworkSettings"] = {{"Networks", networks_object(c.spec->network_mode, facts)}};
  object["Mounts"] = mounts_array(facts);
  object["Keepwell"] = {{"Service", c.spec->name},          {"State", to_string(c.state)},
                        {"Health", to_string(c.health)},    {"RestartCount", c.restart_count},
                        {"ChecksPaused", checks_paused(c)}, {"Held", c.held()}};
  return json_text(object);
}

std::string status_text(const ContainerStatus& c, Now now) {
  const auto ago = [&](const std::optional<WallTime>& at) {
    return human_duration(at ? now.wall - *at : Duration{0});
  };
  const std::string code = std::to_string(shown_exit_code(c));
  std::string up = "Up " + ago(c.started);
  if (c.state == ServiceState::paused) return up + " (Paused)";
  if (restarting(c)) {
    // Until the old run has ended, what counts is when its restart was decided.
    return "Restarting (" + code + ") " + ago(c.pid != 0 ? c.last_restart : c.finished) + " ago";
  }
  if (running(c)) {
    if (!has_health(c) || c.health == Health::none) return up;
    const char* prefix = c.health == Health::starting ? "health: " : "";
    return up + " (" + prefix + to_string(c.health) + ")";
  }
  if (never_ran(c)) return "Created";
  return "Exited (" + code + ") " + ago(c.finished) + " ago";
}

std::string command_text(const ContainerStatus& c, const RuntimeFacts& facts) {
  std::string text;
  for (const std::string& word : argv_of(c, facts)) {
    if (!text.empty()) text += ' ';
    text += word.find(' ') == std::string::npos ? word : "'" + word + "'";
  }
  return text;
}

Labels container_labels(const ContainerStatus& c, const RuntimeFacts& facts) {
  Labels labels = c.spec->labels;
  labels.insert(facts.image_labels.begin(), facts.image_labels.end());
  set_compose_labels(labels, c.project, *c.spec, c.replica, facts.project_file, facts.config_hash);
  return labels;
}

std::string image_text(const ServiceSpec& spec) {
  return spec.image.empty() ? spec.rootfs : spec.image;
}

}  // namespace keepwell
