// The few facts about a process that the keeper takes from the kernel besides wait.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace keepwell {

struct ProcStat {
  char state = '?';
  std::uint64_t start_ticks = 0;  // field 22: with the pid, which process this is
  int exit_status = 0;  // field 52, as waitpid says; only of a zombie, 0 without permission
};

// /proc/PID/stat; none if there is no such process.
std::optional<ProcStat> read_proc_stat(pid_t pid);

// The process that keepwell-enter, which is HELPER and may have ended, has made
// (enter/plan_format.h); 0: none that it said.
pid_t made_by(pid_t helper);

// How the process behind PIDFD ended, as waitpid says, if the kernel tells others than its parent
// (PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15) and it was reaped.
std::optional<int> exit_status_of_reaped(int pidfd);

// Whether field 52 may be believed when it is 0: the kernel shows 0 to those who may not know.
bool may_read_exit_status();

int open_pidfd(pid_t pid);  // -1 and errno

}  // namespace keepwell
