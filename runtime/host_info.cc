#include "runtime/host_info.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <uv.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "runtime/proc_info.h"
#include "runtime/state_file.h"

namespace keepwell {

namespace {

std::string read_or_empty(const std::string& path) {
  return read_small_file(path, 1u << 20).value_or(std::string());
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string pretty_name() {
  std::string text = "\n" + read_or_empty("/etc/os-release");
  constexpr std::string_view kKey = "\nPRETTY_NAME=";
  std::size_t at = text.find(kKey);
  if (at == std::string::npos) return "Linux";
  std::string value = first_line(text.substr(at + kKey.size()));
  if (value.size() >= 2 && value.front() == '"') value = value.substr(1, value.size() - 2);
  return value;
}

std::uint64_t count_fds() {
  DIR* dir = ::opendir("/proc/self/fd");
  if (dir == nullptr) return 0;
  std::uint64_t count = 0;
  while (::readdir(dir) != nullptr) ++count;
  ::closedir(dir);
  return count < 3 ? 0 : count - 3;  // ".", ".." and the directory itself
}

double boot_time_seconds() {
  std::string stat = read_or_empty("/proc/stat");
  std::size_t at = stat.find("\nbtime ");
  return at == std::string::npos ? 0 : std::strtod(stat.c_str() + at + 7, nullptr);
}

}  // namespace

HostInfo read_host_info() {
  HostInfo info;
  utsname name{};
  if (::uname(&name) == 0) {
    info.hostname = name.nodename;
    info.kernel = name.release;
    info.machine = name.machine;
  }
  info.operating_system = pretty_name();
  info.machine_id = first_line(read_or_empty("/etc/machine-id"));
  info.cpus = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  struct sysinfo system {};
  if (::sysinfo(&system) == 0) {
    info.memory_bytes = static_cast<std::uint64_t>(system.totalram) * system.mem_unit;
  }
  struct stat controllers {};
  info.cgroup_v2 = ::stat("/sys/fs/cgroup/cgroup.controllers", &controllers) == 0;
  return info;
}

std::uint64_t read_system_cpu_ns() {
  std::string stat = read_or_empty("/proc/stat");
  const char* at = stat.c_str();
  if (stat.rfind("cpu ", 0) != 0) return 0;
  at += 4;
  std::uint64_t ticks = 0;
  for (int column = 0; column < 7; ++column) {
    char* end = nullptr;
    ticks += std::strtoull(at, &end, 10);
    at = end;
  }
  return ticks * (1'000'000'000u / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK)));
}

SelfUsage read_self_usage() {
  SelfUsage usage;
  rusage used{};
  if (::getrusage(RUSAGE_SELF, &used) == 0) {
    auto seconds = [](const timeval& value) {
      return static_cast<double>(value.tv_sec) + static_cast<double>(value.tv_usec) / 1e6;
    };
    usage.cpu_seconds = seconds(used.ru_utime) + seconds(used.ru_stime);
  }
  unsigned long long size = 0;
  unsigned long long resident = 0;
  auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  if (std::sscanf(read_or_empty("/proc/self/statm").c_str(), "%llu %llu", &size, &resident) == 2) {
    usage.virtual_bytes = size * page;
    usage.resident_bytes = resident * page;
  }
  usage.open_fds = count_fds();
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) usage.max_fds = limit.rlim_cur;
  if (auto stat = read_proc_stat(::getpid())) {
    usage.start_time_seconds =
        boot_time_seconds() +
        static_cast<double>(stat->start_ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  return usage;
}

std::string libuv_version() { return uv_version_string(); }

}  // namespace keepwell
