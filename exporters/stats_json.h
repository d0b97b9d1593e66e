// GET /containers/{id}/stats: Docker's object from one or two samples of a container's cgroup, laid
// out so that the docker client's own arithmetic (health-and-exec-semantics.md 3.5) comes out
// right.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/time.h"

namespace keepwell {

struct NetworkCounters {
  std::uint64_t rx_bytes = 0, rx_packets = 0, rx_errors = 0, rx_dropped = 0;
  std::uint64_t tx_bytes = 0, tx_packets = 0, tx_errors = 0, tx_dropped = 0;
};

struct BlockCounters {
  std::uint64_t major = 0, minor = 0;
  std::uint64_t read_bytes = 0, write_bytes = 0;
};

// How long some process waited for a resource: share of the last 10 s, and all together.
struct PressureCounters {
  double avg10 = 0;  // percent
  Duration total{0};
};

// One sample.
struct ContainerStats {
  WallTime at{};
  std::uint64_t cpu_ns = 0, cpu_user_ns = 0, cpu_kernel_ns = 0;
  std::uint64_t system_cpu_ns = 0;  // sum of the first 7 columns of /proc/stat's cpu line
  int online_cpus = 0;
  std::uint64_t throttle_periods = 0, throttled_periods = 0, throttled_ns = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_limit_bytes = 0;               // the host's memory where there is none
  std::map<std::string, std::uint64_t> memory_stats;  // memory.stat, inactive_file among them
  bool cgroup_v2 = true;                              // else `usage` counts total_inactive_file
  std::uint64_t pids = 0;
  std::uint64_t pids_limit = 0;  // 0: none
  std::uint64_t oom_kills = 0;
  std::map<std::string, PressureCounters> pressure;  // by cpu, memory, io; empty: host does not say
  std::vector<BlockCounters> block;
  std::map<std::string, NetworkCounters> networks;  // by interface; empty: host network
};

// One object, without a newline. PREVIOUS none: an empty precpu_stats, as for one-shot and the
// first of a stream. NOW none: a container that does not run: zeros, with name and id.
std::string stats_json(const std::string& id, const std::string& name,
                       const std::optional<ContainerStats>& now,
                       const std::optional<ContainerStats>& previous);

}  // namespace keepwell
