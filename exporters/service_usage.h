// What a running service uses of its host, for /metrics. Counters begin again with each start of
// the service, since its cgroup does.
#pragma once

#include <cstdint>
#include <optional>

namespace keepwell {

struct ServiceUsage {
  bool of_cgroup = true;  // false: it has none, and all but what its network says is unknown
  double cpu_seconds = 0;
  double cpu_throttled_seconds = 0;
  std::uint64_t memory_bytes = 0;                   // page cache included
  std::uint64_t memory_working_set_bytes = 0;       // without what the kernel would drop first
  std::optional<std::uint64_t> memory_limit_bytes;  // none: no limit
  std::uint64_t processes = 0;
  std::uint64_t oom_kills = 0;
  // Through the interfaces of its own network; none: it has the host's, or no network.
  std::optional<std::uint64_t> network_receive_bytes, network_transmit_bytes;
  // Seconds for which some process waited; none: the host does not say.
  std::optional<double> cpu_pressure_seconds, memory_pressure_seconds, io_pressure_seconds;
};

}  // namespace keepwell
