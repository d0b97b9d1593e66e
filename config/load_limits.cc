// What a service may use of the host: memory, CPU, processes; in keys of the service itself and in
// `deploy`, which must not disagree.
#include <algorithm>
#include <charconv>

#include "config/draft.h"

namespace keepwell {
namespace {

constexpr std::int64_t kMemorySmallest = std::int64_t{6} << 20;  // Docker's

bool read_memory(const Field& f, std::string_view what, std::int64_t& out) {
  std::int64_t bytes = 0;
  if (!read_bytes(f.context, what, f.value(), bytes)) return false;
  if (bytes != 0 && bytes < kMemorySmallest) {
    f.error(std::string(what) + " " + in_quotes(f.value().text) +
            " is too small; write 6m or more");
    return false;
  }
  out = bytes;
  return true;
}

// The largest that a quota of microseconds can say.
constexpr double kCpusMax = 100'000;

bool read_cpu_count(const Field& f, std::string_view what, double& out) {
  double value = 0;
  if (!read_number(f.context, what, f.value(), 0, kCpusMax, value)) return false;
  if (value != 0 && value < 0.01) {
    f.error(std::string(what) + " " + in_quotes(f.value().text) +
            " is too small; write 0.01 or more");
    return false;
  }
  out = value;
  return true;
}

bool read_pids(const Field& f, std::string_view what, std::int64_t& out) {
  std::int64_t value = 0;
  if (!read_integer(f.context, what, f.value(), -1, 4'194'304, value)) return false;
  out = std::max<std::int64_t>(value, 0);
  return true;
}

// "0-3,5": numbers and ranges.
bool is_cpu_list(std::string_view text) {
  constexpr int kCpuMax = 8191;
  while (true) {
    std::string_view part = text.substr(0, text.find(','));
    int numbers[2] = {-1, -1};
    const char* at = part.data();
    const char* end = part.data() + part.size();
    for (int& number : numbers) {
      auto [stop, error] = std::from_chars(at, end, number);
      if (error != std::errc{} || number < 0 || number > kCpuMax) return false;
      at = stop;
      if (at == end) break;
      if (*at++ != '-' || &number == &numbers[1]) return false;
    }
    if (at != end || (numbers[1] >= 0 && numbers[1] < numbers[0])) return false;
    if (part.size() == text.size()) return true;
    text.remove_prefix(part.size() + 1);
  }
}

// ---- deploy

void read_deploy_cpus(const Field& f, DeployDraft& d) {
  double value = 0;
  if (read_cpu_count(f, "deploy.resources.limits.cpus", value)) d.cpus = value;
}
void read_deploy_memory(const Field& f, DeployDraft& d) {
  std::int64_t value = 0;
  if (read_memory(f, "deploy.resources.limits.memory", value)) d.memory = value;
}
void read_deploy_pids(const Field& f, DeployDraft& d) {
  std::int64_t value = 0;
  if (read_pids(f, "deploy.resources.limits.pids", value)) d.pids = value;
}
void read_reserved_cpus(const Field& f, DeployDraft&) {
  f.context.report.warning(f.entry.key_place,
                           "reservations.cpus has no effect on one host; use cpu_shares");
}
void read_reserved_memory(const Field& f, DeployDraft& d) {
  std::int64_t value = 0;
  if (read_memory(f, "deploy.resources.reservations.memory", value)) d.reservation = value;
}

constexpr std::string_view kDevices = "use devices of the service";

constexpr Key<DeployDraft> kLimitKeys[] = {
    {"cpus", read_deploy_cpus}, {"memory", read_deploy_memory}, {"pids", read_deploy_pids}};
constexpr Key<DeployDraft> kReservationKeys[] = {
    {"cpus", read_reserved_cpus},
    {"memory", read_reserved_memory},
    {"devices", nullptr, kDevices},
    {"generic_resources", nullptr, kDevices},
};

void read_limits(const Field& f, DeployDraft& d) {
  read_map(f.context, f.value(), "deploy.resources.limits", kLimitKeys, d);
}
void read_reservations(const Field& f, DeployDraft& d) {
  read_map(f.context, f.value(), "deploy.resources.reservations", kReservationKeys, d);
}

constexpr Key<DeployDraft> kResourceKeys[] = {{"limits", read_limits},
                                              {"reservations", read_reservations}};

void read_resources(const Field& f, DeployDraft& d) {
  read_map(f.context, f.value(), "deploy.resources", kResourceKeys, d);
}
void read_deploy_restart(const Field& f, DeployDraft& d) { d.restart = &f.value(); }
void read_replicas(const Field& f, DeployDraft& d) {
  std::int64_t value = 0;
  if (read_integer(f.context, "deploy.replicas", f.value(), 0, 10'000, value)) {
    d.replicas = static_cast<int>(value);
  }
}
void read_deploy_mode(const Field& f, DeployDraft&) {
  constexpr std::string_view kModes[] = {"replicated", "global"};  // the same on one host
  std::size_t which = 0;
  read_choice(f.context, "deploy.mode", f.value(), kModes, which);
}
void no_effect(const Field& f, DeployDraft&) {
  f.context.report.warning(f.entry.key_place, "deploy." + f.name() +
                                                  " has no effect, since keepwell runs one host; "
                                                  "remove it");
}

constexpr Key<DeployDraft> kDeployKeys[] = {
    {"resources", read_resources}, {"restart_policy", read_deploy_restart},
    {"replicas", read_replicas},   {"mode", read_deploy_mode},
    {"endpoint_mode", no_effect},  {"labels", no_effect},
    {"placement", no_effect},      {"rollback_config", no_effect},
    {"update_config", no_effect},
};

// VALUE, which `deploy` gives under NAME, over what the service's own KEY says.
template <class T>
void take(LoadContext& context, const ServiceDraft& d, std::string_view key, std::string_view name,
          const std::optional<T>& value, T& out) {
  if (!value) return;
  if (d.has(key) && out != *value) {
    context.report.error(d.place_of("deploy"), "deploy." + std::string(name) + " and " +
                                                   std::string(key) + " differ; keep one of them");
  }
  out = *value;
}

void check_memory(LoadContext& context, ServiceDraft& d) {
  const ServiceSpec& spec = d.spec;
  if (spec.memory_swap_bytes > 0 && spec.memory_swap_bytes < spec.memory_bytes) {
    context.report.error(d.place_of("memswap_limit"),
                         "memswap_limit is memory and swap together, and is below mem_limit; "
                         "raise it");
  }
  if (spec.memory_swap_bytes > 0 && spec.memory_bytes == 0) {
    context.report.error(d.place_of("memswap_limit"),
                         "memswap_limit needs mem_limit beside it; add that");
  }
  if (spec.memory_bytes > 0 && spec.memory_reservation_bytes > spec.memory_bytes) {
    context.report.error(d.place_of(d.has("mem_reservation") ? "mem_reservation" : "deploy"),
                         "the memory reservation is above the limit; lower it");
  }
  if (spec.oom_kill_disable && spec.memory_bytes == 0) {
    context.report.error(d.place_of("oom_kill_disable"),
                         "oom_kill_disable without mem_limit can stop the whole host; add "
                         "mem_limit");
  }
}

}  // namespace

void read_mem_limit(const Field& f, ServiceDraft& d) {
  read_memory(f, "mem_limit", d.spec.memory_bytes);
}
void read_mem_reservation(const Field& f, ServiceDraft& d) {
  read_memory(f, "mem_reservation", d.spec.memory_reservation_bytes);
}
void read_memswap_limit(const Field& f, ServiceDraft& d) {
  if (f.value().is_scalar() && f.value().text == "-1") {
    d.spec.memory_swap_bytes = -1;
  } else {
    read_bytes(f.context, "memswap_limit", f.value(), d.spec.memory_swap_bytes);
  }
}
void read_mem_swappiness(const Field& f, ServiceDraft& d) {
  std::int64_t value = 0;
  if (!read_integer(f.context, "mem_swappiness", f.value(), -1, 100, value)) return;
  if (value >= 0) d.spec.mem_swappiness = static_cast<int>(value);
}
void read_oom_kill_disable(const Field& f, ServiceDraft& d) {
  read_bool(f.context, "oom_kill_disable", f.value(), d.spec.oom_kill_disable);
}
void read_oom_score_adj(const Field& f, ServiceDraft& d) {
  std::int64_t value = 0;
  if (read_integer(f.context, "oom_score_adj", f.value(), -1000, 1000, value)) {
    d.spec.oom_score_adj = static_cast<int>(value);
  }
}
void read_pids_limit(const Field& f, ServiceDraft& d) {
  read_pids(f, "pids_limit", d.spec.pids_limit);
}
void read_cpus(const Field& f, ServiceDraft& d) { read_cpu_count(f, "cpus", d.spec.cpus); }
void read_cpu_shares(const Field& f, ServiceDraft& d) {
  std::int64_t value = 0;
  if (!read_integer(f.context, "cpu_shares", f.value(), 0, 262'144, value)) return;
  if (value == 1) {
    f.error("cpu_shares 1 is too small; write 2 or more, 0 for the default");
    return;
  }
  d.spec.cpu_shares = value;
}
void read_cpuset(const Field& f, ServiceDraft& d) {
  std::string text;
  if (!read_text(f.context, "cpuset", f.value(), text)) return;
  if (!is_cpu_list(text)) {
    f.error("cpuset " + in_quotes(text) + " is no list of CPUs; write 0-3 or 0,2");
    return;
  }
  d.spec.cpuset = std::move(text);
}

void read_deploy(const Field& f, ServiceDraft& d) {
  if (f.value().is_null()) return;
  read_map(f.context, f.value(), "deploy", kDeployKeys, d.deploy);
}

void finish_limits(LoadContext& context, ServiceDraft& d) {
  const DeployDraft& deploy = d.deploy;
  take(context, d, "cpus", "resources.limits.cpus", deploy.cpus, d.spec.cpus);
  take(context, d, "mem_limit", "resources.limits.memory", deploy.memory, d.spec.memory_bytes);
  take(context, d, "pids_limit", "resources.limits.pids", deploy.pids, d.spec.pids_limit);
  take(context, d, "mem_reservation", "resources.reservations.memory", deploy.reservation,
       d.spec.memory_reservation_bytes);
  take(context, d, "scale", "replicas", deploy.replicas, d.spec.scale);
  if (deploy.restart != nullptr) read_deploy_restart_policy(context, *deploy.restart, d);
  check_memory(context, d);
}

}  // namespace keepwell
