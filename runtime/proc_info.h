// What /proc says about a process, for telling it from a later one with the same number.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace keepwell {

struct ProcStat {
  char state = '?';  // R, S, D, T, Z, ...
  pid_t parent = 0;
  std::uint64_t start_ticks =
      0;  // field 22: with the pid and the boot id, the identity of a process
};

// None where there is no such process.
std::optional<ProcStat> read_proc_stat(pid_t pid);

// Pure: the text of /proc/PID/stat. The name in it may hold spaces and parentheses.
std::optional<ProcStat> parse_proc_stat(const std::string& text);

// The namespaces that PID is in, by their inode numbers in /proc/PID/ns; 0 where it cannot be told.
using NamespaceIds = std::array<std::uint64_t, 6>;
NamespaceIds namespaces_of(pid_t pid);

// Whether a debugger is attached to PID (TracerPid in its status); false where it is gone.
bool is_traced(pid_t pid);

// Value of a hexadecimal line such as "CapBnd:" in /proc/self/status; 0 where it is missing.
std::uint64_t own_status_mask(const char* name);

// Of this process; 0 where it cannot be read.
int own_oom_score_adj();

}  // namespace keepwell
