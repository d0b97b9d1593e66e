#include "runtime/evidence.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include "runtime/unique_fd.h"

namespace keepwell {
namespace {

constexpr std::size_t kFileBytesMax = 64 * 1024;
constexpr std::size_t kThreadsMax = 32;
constexpr std::size_t kDescriptorsMax = 256;

// The beginning of PATH, to the end of a line where it is cut; empty where it cannot be read.
std::string text_of(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::string text(kFileBytesMax, '\0');
  std::size_t size = 0;
  while (fd && size < text.size()) {
    const ssize_t n = ::read(fd.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  if (size < kFileBytesMax) return text;
  text.resize(text.rfind('\n') + 1);
  return text + "... (cut)\n";
}

// Numbers that name entries of DIR, rising.
std::vector<int> numbers_in(const std::string& dir) {
  std::vector<int> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(dir.c_str()), ::closedir);
  if (!open) return numbers;
  while (const dirent* entry = ::readdir(open.get())) {
    if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') {
      numbers.push_back(std::atoi(entry->d_name));
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::string link_of(const std::string& path) {
  std::array<char, 512> buffer{};
  const ssize_t n = ::readlink(path.c_str(), buffer.data(), buffer.size());
  return n <= 0 ? std::string("?") : std::string(buffer.data(), static_cast<std::size_t>(n));
}

std::string indented(const std::string& text, const char* by) {
  std::string out;
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    out += by + text.substr(start, end - start) + "\n";
    start = end + 1;
  }
  return out;
}

// The lines of STATUS that begin with one of a few names.
std::string chosen_lines(const std::string& status) {
  static constexpr const char* kNames[] = {
      "Name:",    "State:",  "PPid:",   "TracerPid:", "Uid:",    "VmRSS:", "VmSwap:",
      "Threads:", "SigPnd:", "ShdPnd:", "SigBlk:",    "SigIgn:", "SigCgt:"};
  std::string out;
  std::size_t start = 0;
  while (start < status.size()) {
    const std::size_t end = std::min(status.find('\n', start), status.size());
    const std::string line = status.substr(start, end - start);
    for (const char* name : kNames) {
      if (line.starts_with(name)) out += line + "\n";
    }
    start = end + 1;
  }
  return out;
}

// A thread in state D may hold the lock that reading cmdline would wait for, without end.
bool sleeps_deeply(const std::string& proc, const std::vector<int>& threads) {
  return std::any_of(threads.begin(), threads.end(), [&](int thread) {
    const std::string stat = text_of(proc + "/task/" + std::to_string(thread) + "/stat");
    const std::size_t name_end = stat.rfind(") ");
    return name_end != std::string::npos && stat[name_end + 2] == 'D';
  });
}

}  // namespace

std::string describe_process(int pid) {
  const std::string proc = "/proc/" + std::to_string(pid);
  const std::string status = text_of(proc + "/status");
  if (status.empty()) return {};
  std::vector<int> threads = numbers_in(proc + "/task");
  if (threads.size() > kThreadsMax) threads.resize(kThreadsMax);
  std::string command;
  if (!sleeps_deeply(proc, threads)) command = text_of(proc + "/cmdline");
  std::replace(command.begin(), command.end(), '\0', ' ');
  if (command.empty()) command = text_of(proc + "/comm");
  while (!command.empty() && (command.back() == ' ' || command.back() == '\n')) command.pop_back();
  std::string out = "process " + std::to_string(pid) + ": " + command + "\n";
  out += indented(chosen_lines(status), "  ");
  for (const int thread : threads) {
    const std::string task = proc + "/task/" + std::to_string(thread);
    out += "  thread " + std::to_string(thread) + " waits in " + text_of(task + "/wchan") + "\n";
    out += indented(text_of(task + "/stack"), "    ");
  }
  return out;
}

std::string describe_descriptors(int pid) {
  const std::string dir = "/proc/" + std::to_string(pid) + "/fd";
  const std::vector<int> numbers = numbers_in(dir);
  std::string out =
      "process " + std::to_string(pid) + ": " + std::to_string(numbers.size()) + " descriptors\n";
  for (std::size_t i = 0; i < std::min(numbers.size(), kDescriptorsMax); ++i) {
    const std::string number = std::to_string(numbers[i]);
    out += "  " + number + " -> " + link_of(dir + "/" + number) + "\n";
  }
  return out;
}

std::string describe_sockets(int pid) {
  std::string out;
  for (const char* kind : {"tcp", "tcp6", "udp", "udp6", "unix"}) {
    const std::string path = "/proc/" + std::to_string(pid) + "/net/" + kind;
    const std::string text = text_of(path);
    out += std::string(kind) + "\n" + (text.empty() ? "  cannot be read\n" : indented(text, "  "));
  }
  return out;
}

std::string describe_cgroup(const std::string& directory) {
  static constexpr const char* kFiles[] = {
      "cpu.pressure", "memory.pressure", "io.pressure",   "cpu.stat",     "memory.current",
      "memory.max",   "memory.stat",     "memory.events", "pids.current", "cgroup.events"};
  std::string out;
  for (const char* file : kFiles) {
    const std::string text = text_of(directory + "/" + file);
    if (!text.empty()) out += std::string(file) + "\n" + indented(text, "  ");
  }
  return out;
}

std::string describe_usage(const CgroupStats& stats) {
  const auto line = [](const char* name, std::uint64_t value) {
    return std::string(name) + " " + std::to_string(value) + "\n";
  };
  const auto limit = [](const char* name, const std::optional<std::uint64_t>& value) {
    return std::string(name) + " " + (value ? std::to_string(*value) : "none") + "\n";
  };
  const auto micros = [](Duration duration) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
  };
  return line("memory_bytes", stats.memory_bytes) +
         line("memory_inactive_file_bytes", stats.memory_inactive_file_bytes) +
         limit("memory_limit_bytes", stats.memory_limit_bytes) +
         line("oom_kills", stats.oom_kills) + line("processes", stats.pids) +
         limit("processes_limit", stats.pids_limit) + line("cpu_usec", micros(stats.cpu)) +
         line("cpu_throttled_usec", micros(stats.cpu_throttled)) +
         line("io_read_bytes", stats.io_read_bytes) + line("io_write_bytes", stats.io_write_bytes);
}

}  // namespace keepwell
