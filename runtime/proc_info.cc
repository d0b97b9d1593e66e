#include "runtime/proc_info.h"

#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace keepwell {

std::optional<ProcStat> parse_proc_stat(const std::string& text) {
  std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  ProcStat stat;
  fields >> stat.state >> stat.parent;
  std::string skipped;
  for (int field = 5; field < 22; ++field) fields >> skipped;
  fields >> stat.start_ticks;
  if (!fields) return std::nullopt;
  return stat;
}

std::optional<ProcStat> read_proc_stat(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(in, text, '\0')) return std::nullopt;
  return parse_proc_stat(text);
}

NamespaceIds namespaces_of(pid_t pid) {
  NamespaceIds ids{};
  std::size_t at = 0;
  for (const char* name : {"mnt", "net", "ipc", "uts", "cgroup", "pid_for_children"}) {
    struct stat link {};
    std::string path = "/proc/" + std::to_string(pid) + "/ns/" + name;
    if (::stat(path.c_str(), &link) == 0) ids[at] = link.st_ino;
    ++at;
  }
  return ids;
}

bool is_traced(pid_t pid) {
  if (pid <= 0) return false;
  std::ifstream in("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("TracerPid:", 0) == 0) return std::atoi(line.c_str() + 10) != 0;
  }
  return false;
}

std::uint64_t own_status_mask(const char* name) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.rfind(name, 0) == 0)
      return std::strtoull(line.c_str() + std::string(name).size(), nullptr, 16);
  return 0;
}

int own_oom_score_adj() {
  std::ifstream in("/proc/self/oom_score_adj");
  int value = 0;
  in >> value;
  return in ? value : 0;
}

}  // namespace keepwell
