// How the keeper starts processes: vfork and, in the child, system calls only. Two kinds:
//   keepwell-enter   from a sealed memfd, with an order's descriptors as 0..n-1; it goes on into
//   the
//                    container in its own address space, so nothing of the keeper is ever there.
//                    Costs the same however many descriptors the keeper holds
//   agent, logger    by path, in a session of their own, control socket as 3; the agent with
//                    PDEATHSIG
// While the child has not exec'ed, the keeper waits (some 50 us).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/unique_fd.h"

namespace keepwell {

// A copy of the program at PATH that nobody can change: a sealed memfd, or, where the kernel
// forbids executable memfds (vm.memfd_noexec=2), the file itself opened for reading. Empty on
// failure, errno says why.
UniqueFd load_program(const std::string& path);

// Remembers the limit of descriptors that this process was started with and raises its own to the
// hard one. What is launched gets the remembered limit back.
void raise_descriptor_limit();
std::uint64_t original_descriptor_limit();
void set_original_descriptor_limit(std::uint64_t soft);  // as the keeper before an upgrade knew it

// Runs PROGRAM (of load_program) with FDS as its descriptors 0..n-1, the environment empty and all
// signals blocked. Returns its pid, or -errno. REQUIRES: PROGRAM is above kFdsMax; all signals are
// blocked.
pid_t launch_enter(int program, std::span<const int> fds);

// Runs ARGV (argv[0] is a path) with this process's environment and stdio, FDS as 3, 4..., no
// signal blocked, and, unless it OUTLIVES the keeper, SIGKILL when that ends. Returns its pid, or
// -errno.
pid_t launch_attendant(const std::vector<std::string>& argv, std::span<const int> fds,
                       bool outlives = false);

// FD, which is to be held for long, moved out of the low numbers, where the limit allows it. Those
// are for what comes with an order: launch_enter's child copies the table up to the highest of
// them.
UniqueFd move_out_of_the_way(UniqueFd fd);

}  // namespace keepwell
