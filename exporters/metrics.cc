// One table of families by container and one by check: a name, a type, a help text and the function
// that adds its samples for one container (or check).
#include "exporters/metrics.h"

#include <algorithm>
#include <string>

#include "config/check.h"
#include "exporters/duration_stats.h"
#include "exporters/inspect_json.h"
#include "exporters/metric_writer.h"
#include "exporters/time_text.h"

namespace keepwell {
namespace {

using prometheus::MetricType;
constexpr MetricType kCounter = MetricType::Counter;
constexpr MetricType kGauge = MetricType::Gauge;
constexpr MetricType kHistogram = MetricType::Histogram;

constexpr const char* kResults[] = {"pass", "fail", "timeout"};

double number(std::uint64_t value) { return static_cast<double>(value); }
double seconds(Duration value) { return std::chrono::duration<double>(value).count(); }
// Whole seconds apart: nanoseconds since 1970 have more digits than a double.
double seconds(WallTime at) {
  const std::int64_t whole = unix_seconds(at);
  return static_cast<double>(whole) + seconds(at.time_since_epoch() - std::chrono::seconds(whole));
}

// There is a process, so that health means something.
bool has_process(const ContainerStatus& c) {
  switch (c.state) {
    case ServiceState::running:
    case ServiceState::paused:
    case ServiceState::stopping:
    case ServiceState::restarting:
      return true;
    case ServiceState::created:
    case ServiceState::starting:
    case ServiceState::backoff:
    case ServiceState::exited:
    case ServiceState::failed:
      return false;
  }
  KW_CHECK(false);
}

// It is meant to be up. One that gave up is too: that is what an alert is for.
bool meant_to_run(const ContainerStatus& c) {
  switch (c.state) {
    case ServiceState::starting:
    case ServiceState::running:
    case ServiceState::restarting:
    case ServiceState::backoff:
    case ServiceState::failed:
      return true;
    case ServiceState::created:
    case ServiceState::paused:
    case ServiceState::stopping:
    case ServiceState::exited:
      return false;
  }
  KW_CHECK(false);
}

template <std::size_t N, class Reason>
void add_by_reason(MetricWriter& writer, const std::array<std::uint64_t, N>& counts, Reason) {
  for (std::size_t i = 0; i < N; ++i) {
    writer.sample(number(counts[i]), {{"reason", to_string(static_cast<Reason>(i))}});
  }
}

// ---- by container

void add_info(MetricWriter& writer, const ContainerStatus& c) {
  const bool oci = c.spec->runtime == RuntimeKind::oci;
  const std::string image = image_text(*c.spec);
  writer.sample(
      1, {{"mode", oci ? "container" : "process"}, {"image", image}, {"container_id", c.id}});
}

void add_state(MetricWriter& writer, const ContainerStatus& c) {
  for (int i = 0; i <= static_cast<int>(ServiceState::failed); ++i) {
    const auto state = static_cast<ServiceState>(i);
    writer.sample(c.state == state ? 1 : 0, {{"state", to_string(state)}});
  }
}

void add_health(MetricWriter& writer, const ContainerStatus& c) {
  if (!has_process(c)) return;
  for (Health health : {Health::none, Health::starting, Health::healthy, Health::unhealthy}) {
    writer.sample(c.health == health ? 1 : 0, {{"health", to_string(health)}});
  }
}

void add_starts(MetricWriter& writer, const ContainerStatus& c) {
  writer.sample(number(c.starts_total));
}
void add_restarts(MetricWriter& writer, const ContainerStatus& c) {
  add_by_reason(writer, c.restarts_total, RestartReason{});
}
void add_suppressed(MetricWriter& writer, const ContainerStatus& c) {
  add_by_reason(writer, c.suppressed_total, SuppressReason{});
}
void add_service_held(MetricWriter& writer, const ContainerStatus& c) {
  writer.sample(c.held() ? 1 : 0);
}
void add_backoff(MetricWriter& writer, const ContainerStatus& c) {
  writer.sample(c.state == ServiceState::backoff ? seconds(c.backoff) : 0);
}

void add_limit_remaining(MetricWriter& writer, const ContainerStatus& c) {
  const RestartSpec& restart = c.spec->restart;
  int left = 0;
  if (c.restart_limit_remaining) {
    left = *c.restart_limit_remaining;
  } else if (restart.limit_count > 0) {
    left = restart.limit_count - static_cast<int>(c.restart_times.size());
  } else if (restart.policy == RestartPolicy::on_failure && restart.max_attempts > 0) {
    left = restart.max_attempts - c.restart_count;
  } else {
    return;
  }
  writer.sample(std::max(left, 0));
}

void add_exit_code(MetricWriter& writer, const ContainerStatus& c) {
  if (c.finished) writer.sample(c.exit_code);
}
void add_start_time(MetricWriter& writer, const ContainerStatus& c) {
  if (c.started) writer.sample(seconds(*c.started));
}
void add_stop_kills(MetricWriter& writer, const ContainerStatus& c) {
  writer.sample(number(c.stop_kills_total));
}
void add_start_to_healthy(MetricWriter& writer, const ContainerStatus& c) {
  if (!c.checks.empty()) writer.histogram(c.start_to_healthy, kStartToHealthyBounds);
}
void add_stop_duration(MetricWriter& writer, const ContainerStatus& c) {
  writer.histogram(c.stop_duration, kStopDurationBounds);
}

void add_service_probe_duration(MetricWriter& writer, const ContainerStatus& c) {
  if (c.checks.empty()) return;
  for (std::size_t result = 0; result < std::size(kResults); ++result) {
    DurationStats sum;
    for (const CheckStatus& check : c.checks) {
      if (check.duration[result].buckets.size() != kProbeDurationBounds.size()) continue;
      add(sum, check.duration[result]);
    }
    writer.histogram(sum, kProbeDurationBounds, {{"result", kResults[result]}});
  }
}

// ---- by check

using Check = CheckStatus;

void add_check_status(MetricWriter& writer, const ContainerStatus& c, const Check& check) {
  static constexpr const char* kStatuses[] = {"unknown", "pass", "fail", "held"};
  if (!has_process(c)) return;
  int status = 0;
  const bool last_held = !check.log.empty() && check.log.back().held;
  if (check.paused_by_hand || c.state == ServiceState::paused || last_held) {
    status = 3;
  } else if (check.status == Health::healthy) {
    status = 1;
  } else if (check.status == Health::unhealthy) {
    status = 2;
  }
  for (int i = 0; i < 4; ++i) writer.sample(i == status ? 1 : 0, {{"status", kStatuses[i]}});
}

void add_check_up(MetricWriter& writer, const ContainerStatus& c, const Check& check) {
  if (!meant_to_run(c) || check.paused_by_hand) return;
  writer.sample(has_process(c) && check.status == Health::healthy ? 1 : 0);
}
void add_probes(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  writer.sample(number(check.probes_total));
}
void add_failures(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  add_by_reason(writer, check.failures_total, FailureReason{});
}
void add_voided(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  writer.sample(number(check.voided_total));
}
void add_held(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  writer.sample(number(check.held_total));
}
void add_cpu(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  if (check.spec->kind == ProbeKind::exec) writer.sample(seconds(check.cpu_total));
}
void add_rss(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  if (check.spec->kind == ProbeKind::exec) writer.sample(number(check.max_rss_bytes));
}
void add_orphans(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  if (check.spec->kind == ProbeKind::exec) writer.sample(number(check.orphans_total));
}
void add_start_latency(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  writer.sample(seconds(check.last_start_latency));
}
void add_truncated(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  writer.sample(number(check.output_truncated_total));
}
void add_output(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  writer.sample(number(check.output_bytes_total));
}
void add_consecutive(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  writer.sample(check.failing_streak);
}
void add_transitions(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  writer.sample(number(check.transitions_to_healthy_total), {{"to", "healthy"}});
  writer.sample(number(check.transitions_to_unhealthy_total), {{"to", "unhealthy"}});
}
void add_starting_long(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  writer.sample(number(check.starting_long_total));
}
void add_flap(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  if (check.flap_ratio) writer.sample(*check.flap_ratio);
}
void add_last_success(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  if (check.last_success) writer.sample(seconds(*check.last_success));
}
void add_check_probe_duration(MetricWriter& writer, const ContainerStatus&, const Check& check) {
  for (std::size_t result = 0; result < std::size(kResults); ++result) {
    writer.histogram(check.duration[result], kProbeDurationBounds, {{"result", kResults[result]}});
  }
}

struct ContainerFamily {
  const char* name;
  MetricType type;
  const char* help;
  void (*add)(MetricWriter&, const ContainerStatus&);
};
struct CheckFamily {
  const char* name;
  MetricType type;
  const char* help;
  void (*add)(MetricWriter&, const ContainerStatus&, const CheckStatus&);
};

constexpr ContainerFamily kContainerFamilies[] = {
    {"keepwell_service_info", kGauge, "1; the labels say what the service runs.", add_info},
    {"keepwell_service_state", kGauge, "1 for the state that the service is in, 0 for the others.",
     add_state},
    {"keepwell_service_health", kGauge,
     "1 for the health that all checks together give, 0 for the others; absent without a process.",
     add_health},
    {"keepwell_service_starts_total", kCounter, "Times the service was started.", add_starts},
    {"keepwell_service_restarts_total", kCounter, "Restarts by what caused them.", add_restarts},
    {"keepwell_service_restarts_suppressed_total", kCounter,
     "Restarts that were due and were not done, by what held them back.", add_suppressed},
    {"keepwell_service_held", kGauge,
     "1 while a hold by hand, or a debugger, keeps keepwell from acting on the service.",
     add_service_held},
    {"keepwell_service_backoff_seconds", kGauge,
     "Length of the wait for the next start that runs now; 0 when none does.", add_backoff},
    {"keepwell_service_restart_limit_remaining", kGauge,
     "Restarts until keepwell gives the service up; absent without a limit.", add_limit_remaining},
    {"keepwell_service_last_exit_code", kGauge,
     "Exit code of the last run that ended; 255 also where it is unknown.", add_exit_code},
    {"keepwell_service_start_timestamp_seconds", kGauge, "When the service was started last.",
     add_start_time},
    {"keepwell_service_stop_kills_total", kCounter,
     "Stops that ended in SIGKILL since the grace period was over.", add_stop_kills}};

constexpr ContainerFamily kContainerHistograms[] = {
    {"keepwell_service_start_to_healthy_seconds", kHistogram,
     "Time from a start to the first healthy verdict.", add_start_to_healthy},
    {"keepwell_service_stop_duration_seconds", kHistogram,
     "Time from a stop signal to the end of the service.", add_stop_duration}};

// ---- what a container uses

void add_cpu_used(MetricWriter& writer, const ServiceUsage& u) { writer.sample(u.cpu_seconds); }
void add_throttled(MetricWriter& writer, const ServiceUsage& u) {
  writer.sample(u.cpu_throttled_seconds);
}
void add_memory(MetricWriter& writer, const ServiceUsage& u) {
  writer.sample(number(u.memory_bytes));
}
void add_working_set(MetricWriter& writer, const ServiceUsage& u) {
  writer.sample(number(u.memory_working_set_bytes));
}
void add_memory_limit(MetricWriter& writer, const ServiceUsage& u) {
  if (u.memory_limit_bytes) writer.sample(number(*u.memory_limit_bytes));
}
void add_processes(MetricWriter& writer, const ServiceUsage& u) {
  writer.sample(number(u.processes));
}
void add_oom_kills(MetricWriter& writer, const ServiceUsage& u) {
  writer.sample(number(u.oom_kills));
}
void add_received(MetricWriter& writer, const ServiceUsage& u) {
  if (u.network_receive_bytes) writer.sample(number(*u.network_receive_bytes));
}
void add_transmitted(MetricWriter& writer, const ServiceUsage& u) {
  if (u.network_transmit_bytes) writer.sample(number(*u.network_transmit_bytes));
}
void add_pressure(MetricWriter& writer, const ServiceUsage& u) {
  if (u.cpu_pressure_seconds) writer.sample(*u.cpu_pressure_seconds, {{"resource", "cpu"}});
  if (u.memory_pressure_seconds) {
    writer.sample(*u.memory_pressure_seconds, {{"resource", "memory"}});
  }
  if (u.io_pressure_seconds) writer.sample(*u.io_pressure_seconds, {{"resource", "io"}});
}

struct UsageFamily {
  const char* name;
  MetricType type;
  const char* help;
  void (*add)(MetricWriter&, const ServiceUsage&);
  bool of_cgroup = true;
};

constexpr UsageFamily kUsageFamilies[] = {
    {"keepwell_service_cpu_seconds_total", kCounter,
     "CPU time that the service used, its probes included.", add_cpu_used},
    {"keepwell_service_cpu_throttled_seconds_total", kCounter,
     "Time for which the service was held back by its CPU limit.", add_throttled},
    {"keepwell_service_memory_bytes", kGauge, "Memory of the service, page cache included.",
     add_memory},
    {"keepwell_service_memory_working_set_bytes", kGauge,
     "Memory of the service without page cache that the kernel would drop first.", add_working_set},
    {"keepwell_service_memory_limit_bytes", kGauge, "Memory limit; absent without one.",
     add_memory_limit},
    {"keepwell_service_processes", kGauge, "Processes and threads of the service.", add_processes},
    {"keepwell_service_oom_kills_total", kCounter,
     "Processes of the service that the kernel killed for want of memory.", add_oom_kills},
    {"keepwell_service_network_receive_bytes_total", kCounter,
     "Bytes that came in over the service's own network, loopback left out.", add_received, false},
    {"keepwell_service_network_transmit_bytes_total", kCounter,
     "Bytes that went out over the service's own network, loopback left out.", add_transmitted,
     false},
    {"keepwell_service_pressure_seconds_total", kCounter,
     "Time for which some process of the service waited for the resource.", add_pressure}};

constexpr const char* kProbeDurationHelp = "How long probes ran, by result.";
constexpr ContainerFamily kServiceProbeDuration = {"keepwell_probe_duration_seconds", kHistogram,
                                                   kProbeDurationHelp, add_service_probe_duration};
constexpr CheckFamily kCheckProbeDuration = {"keepwell_probe_duration_seconds", kHistogram,
                                             kProbeDurationHelp, add_check_probe_duration};

constexpr CheckFamily kCheckFamilies[] = {
    {"keepwell_check_status", kGauge,
     "1 for the status of the check, 0 for the others; absent without a process.",
     add_check_status},
    {"keepwell_check_up", kGauge,
     "1 while the check passes, 0 while it does not (yet) though the service is meant to run.",
     add_check_up},
    {"keepwell_probes_total", kCounter, "Probes that finished and counted.", add_probes},
    {"keepwell_probe_failures_total", kCounter, "Probes that failed, by reason.", add_failures},
    {"keepwell_probe_voided_total", kCounter,
     "Probes that said nothing about the service, since the fault was keepwell's.", add_voided},
    {"keepwell_probe_held_total", kCounter,
     "Timeouts that did not count, since the host was stalled.", add_held},
    {"keepwell_probe_cpu_seconds_total", kCounter, "CPU time that the probes' processes used.",
     add_cpu},
    {"keepwell_probe_max_rss_bytes", kGauge, "Largest resident memory of the last probe.", add_rss},
    {"keepwell_probe_orphans_total", kCounter,
     "Processes that probes left behind and the service's first process did not reap; see `init`.",
     add_orphans},
    {"keepwell_probe_start_latency_seconds", kGauge,
     "From the order to the running program, for the last probe.", add_start_latency},
    {"keepwell_probe_output_truncated_total", kCounter,
     "Probes whose output was longer than what is kept.", add_truncated},
    {"keepwell_probe_output_bytes_total", kCounter, "Output read from probes, dropped bytes too.",
     add_output},
    {"keepwell_check_consecutive_failures", kGauge, "Failed probes in a row.", add_consecutive},
    {"keepwell_check_transitions_total", kCounter, "Changes of verdict, by the new one.",
     add_transitions},
    {"keepwell_check_starting_long_total", kCounter,
     "Times that 10 probes in a row said the service is still starting.", add_starting_long},
    {"keepwell_check_flap_ratio", kGauge, "Share of recent probes that changed the result, 0 to 1.",
     add_flap},
    {"keepwell_check_last_success_timestamp_seconds", kGauge, "When a probe passed last.",
     add_last_success}};

// `replica` only where a service has several.
std::string replica_text(const ContainerStatus& c) {
  return c.spec->scale > 1 ? std::to_string(c.replica) : std::string();
}

using Containers = std::span<const ContainerStatus* const>;

void write(MetricWriter& writer, const ContainerFamily& family, Containers containers) {
  writer.family(family.name, family.type, family.help);
  for (const ContainerStatus* c : containers) {
    writer.common({{"service", c->spec->name}, {"replica", replica_text(*c)}});
    family.add(writer, *c);
    writer.flush();
  }
}

void write(MetricWriter& writer, const UsageFamily& family, Containers containers,
           const std::function<const ServiceUsage*(const ContainerStatus&)>& usage) {
  writer.family(family.name, family.type, family.help);
  for (const ContainerStatus* c : containers) {
    const ServiceUsage* used = has_process(*c) ? usage(*c) : nullptr;
    if (used == nullptr || (family.of_cgroup && !used->of_cgroup)) continue;
    writer.common({{"service", c->spec->name}, {"replica", replica_text(*c)}});
    family.add(writer, *used);
    writer.flush();
  }
}

void write(MetricWriter& writer, const CheckFamily& family, Containers containers) {
  writer.family(family.name, family.type, family.help);
  for (const ContainerStatus* c : containers) {
    const std::string replica = replica_text(*c);
    for (const CheckStatus& check : c->checks) {
      writer.common(
          {{"service", c->spec->name}, {"replica", replica}, {"check", check.spec->name}});
      family.add(writer, *c, check);
      writer.flush();
    }
  }
}

}  // namespace

void each_metric_family(
    const MetricsInput& input,
    const std::function<void(const prometheus::MetricFamily& piece, bool first)>& sink) {
  KW_CHECK(input.agent != nullptr);
  const auto shown = static_cast<std::size_t>(std::max(input.spec.max_services, 0));
  const Containers containers = input.containers.first(std::min(input.containers.size(), shown));
  const auto histograms = input.spec.histograms;
  const bool any_histograms = histograms != MetricsSpec::Histograms::off;

  MetricWriter writer(sink);
  write_agent_families(writer, *input.agent, input.containers.size() - containers.size(),
                       any_histograms);
  for (const ContainerFamily& family : kContainerFamilies) write(writer, family, containers);
  for (const CheckFamily& family : kCheckFamilies) write(writer, family, containers);
  if (input.usage) {
    for (const UsageFamily& family : kUsageFamilies) write(writer, family, containers, input.usage);
  }
  if (any_histograms) {
    for (const ContainerFamily& family : kContainerHistograms) write(writer, family, containers);
  }
  if (histograms == MetricsSpec::Histograms::per_service) {
    write(writer, kServiceProbeDuration, containers);
  } else if (histograms == MetricsSpec::Histograms::per_check) {
    write(writer, kCheckProbeDuration, containers);
  }
  writer.flush();
}

}  // namespace keepwell
