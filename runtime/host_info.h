// Facts about this host and this process, read when somebody asks. What cannot be read is 0 or
// empty.
#pragma once

#include <cstdint>
#include <string>

namespace keepwell {

struct HostInfo {
  std::string hostname;
  std::string kernel;            // uname -r
  std::string machine;           // uname -m
  std::string operating_system;  // PRETTY_NAME of os-release
  std::string machine_id;        // /etc/machine-id
  int cpus = 0;
  std::uint64_t memory_bytes = 0;
  bool cgroup_v2 = false;
};
HostInfo read_host_info();

// user, nice, system, idle, iowait, irq, softirq of all processors.
std::uint64_t read_system_cpu_ns();

struct SelfUsage {
  double cpu_seconds = 0;
  std::uint64_t resident_bytes = 0;
  std::uint64_t virtual_bytes = 0;
  std::uint64_t open_fds = 0;
  std::uint64_t max_fds = 0;
  double start_time_seconds = 0;  // since 1970
};
SelfUsage read_self_usage();

std::string libuv_version();

}  // namespace keepwell
