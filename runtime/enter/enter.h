// Shared by the parts of keepwell-enter. host_side.cc runs with the host's view and ends by
// cloning, once, or again and again as a zygote (zygote.cc); inside.cc runs in the clone, within
// the target, and ends by executing the program.
#pragma once

#include "runtime/enter/plan_format.h"
#include "runtime/enter/syscall.h"

namespace keepwell {

// The plan as it lies in memory; checked once by load_plan(), so that references can be followed.
struct Plan {
  char* base = nullptr;
  PlanHeader* header = nullptr;

  bool has(PlanFlags flag) const { return (header->flags & flag) != 0; }
  template <class T>
  T* at(PlanRef ref) const {
    return reinterpret_cast<T*>(base + ref.offset);
  }
  const char* text(PlanRef ref) const { return ref.offset == 0 ? nullptr : base + ref.offset; }
};

// Reports where it stopped and why (RESULT: a negative errno) on the status pipe, and ends.
[[noreturn]] void stop(EnterStep step, long result);

inline void require(EnterStep step, long result) {
  if (result < 0) stop(step, result);
}

// Maps and checks the plan on kPlanFd, and turns the offsets in argv and env into pointers.
Plan load_plan();

// Writes TEXT to PATH. A negative errno, also of a short write.
long write_file(const char* path, const char* text, unsigned long size);

bool is_pipe(int fd);

// The keeper's child in this program's memory, on a stack of its own, of which there is one: it
// calls ENTRY, which must not return. Its pid, or a negative errno. RUNNING, if given, is 0 once it
// has left this memory. It begins in the v2 cgroup whose directory CGROUP is, if that is given.
long clone_in_our_memory(void (*entry)(), int* running = nullptr, std::uint32_t cgroup = kNoFd);

// Waits for the kernel, or another process in this memory, to set WORD, which is VALUE, to 0.
void wait_until_zero(const int* word, int value);

// Goes where the plan says: score, limits, cgroups (a zygote: those it shares with its clones),
// scheduling, labels, namespaces.
void enter_target(const Plan& plan);

// Joins WANTED (CLONE_NEW*) of the plan's namespaces.
void join_namespaces(const Plan& plan, std::uint64_t wanted);

// Joins those cgroups of the plan from FIRST up to END.
void join_cgroups(const Plan& plan, std::uint32_t first, std::uint32_t end);

// Nothing of the host's goes along but 0-2, the status pipe, and the socket that the master of a
// terminal is sent through.
void close_descriptors(const Plan& plan);

// Clones for each request on kStatusFd, until that is closed. REQUIRES: enter_target().
[[noreturn]] void serve_as_zygote(const Plan& plan);

// Of the second half what a zygote has done before, for all of its clones.
void join_keyring(const Plan& plan);
void drop_bounding(const Plan& plan);

// The second half. PARENT is the pid that getppid() must still give for a plan
// with pdeathsig; 0: not to be seen from inside.
[[noreturn]] void run_inside(const Plan& plan, long parent);

// Parts of run_inside() with files of their own.
struct Identity {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  const std::uint32_t* groups = nullptr;
  std::uint32_t group_count = 0;
};
Identity look_up_identity(const Plan& plan);              // user.cc; adds HOME to env where asked
void open_terminal(const Plan& plan, std::uint32_t uid);  // tty.cc; 0-2 are then the terminal
[[noreturn]] void execute(const Plan& plan);  // execute.cc; PATH lookup, seccomp, execve
void attach_seccomp(const Plan& plan);

}  // namespace keepwell
