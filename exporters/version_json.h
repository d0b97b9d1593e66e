// GET /version and GET /info, and the labels of `keepwell version`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "config/time.h"

namespace keepwell {

inline constexpr const char* kApiVersion = "1.50";
inline constexpr const char* kApiVersionMin = "1.12";

struct VersionFacts {
  std::string version;         // of keepwell
  std::string commit;          // empty: unknown
  std::string build_time;      // RFC 3339, empty: unknown
  std::string arch = "amd64";  // Go's name
  std::string kernel;          // uname -r
  std::string libuv;
  std::map<std::string, std::string> components;  // runc -> 1.1.5: shown as further Components
};

std::string version_json(const VersionFacts& facts);

struct HostFacts {
  VersionFacts version;
  std::string host_id;  // stable over restarts
  std::string hostname;
  int containers = 0, running = 0, paused = 0, stopped = 0;
  int images = 0;
  int cpus = 0;
  std::uint64_t memory_bytes = 0;
  std::string operating_system;  // PRETTY_NAME
  std::string architecture;      // uname -m
  std::string cgroup_driver;     // cgroupfs, systemd, none
  int cgroup_version = 2;
  std::string data_dir;
  std::string default_runtime;                  // runc, crun, process
  std::map<std::string, std::string> runtimes;  // name -> path
  std::vector<std::string> security_options;    // "name=seccomp,profile=builtin"
  std::vector<std::string> warnings;
  int open_fds = 0;
  int event_listeners = 0;
  WallTime now{};
};

std::string info_json(const HostFacts& facts);

}  // namespace keepwell
