#include "runtime/keeper/launch.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/memfd.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include "runtime/keeper_protocol.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U  // Linux 6.3; before it every memfd was executable
#endif

namespace keepwell {
namespace {

constexpr int kHighFd = static_cast<int>(wire::kFdsMax) + 2;
constexpr int kHeldFd = 4 * kHighFd;  // room for an order's descriptors below it

rlimit original_limit{};
bool limit_raised = false;

// ---- from here on: what runs between vfork and exec. System calls on memory prepared before.

bool place(std::span<int> fds, int first) {
  int end = first + static_cast<int>(fds.size());
  for (int& fd : fds) {  // out of the way first, so that any order of numbers works
    if (fd < end && (fd = fcntl(fd, F_DUPFD_CLOEXEC, kHighFd)) < 0) return false;
  }
  for (int i = 0; i < static_cast<int>(fds.size()); ++i) {
    if (dup2(fds[static_cast<std::size_t>(i)], first + i) < 0) return false;
  }
  return close_range(static_cast<unsigned>(end), ~0U, CLOSE_RANGE_CLOEXEC) == 0;
}

void restore_limit() {
  if (limit_raised) setrlimit(RLIMIT_NOFILE, &original_limit);
}

struct EnterLaunch {
  int program;
  std::span<int> fds;  // become 0..n-1
  char* const* argv;
  char* const* env;
  volatile int error = 0;  // why it could not exec
};

// The table of descriptors is the keeper's until close_range() has made a copy of its low end: what
// all services together have open is neither copied nor closed for one probe.
int exec_enter(void* argument) {
  auto& launch = *static_cast<EnterLaunch*>(argument);
  int last = launch.program;
  for (int fd : launch.fds) last = std::max(last, fd);
  if (close_range(static_cast<unsigned>(last) + 1, ~0U, CLOSE_RANGE_UNSHARE) == 0 &&
      place(launch.fds, 0)) {
    restore_limit();
    syscall(SYS_execveat, launch.program, "", launch.argv, launch.env, AT_EMPTY_PATH);
  }
  launch.error = errno;
  _exit(127);
}

alignas(16) std::array<std::byte, 32 * 1024> enter_stack;

__attribute__((noinline)) pid_t vfork_attendant(const char* path, std::span<int> fds,
                                                char* const* argv, pid_t parent, bool outlives,
                                                volatile int* error_out) {
  pid_t pid = vfork();
  if (pid != 0) return pid;
  if (!outlives) prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the keeper died before that took effect
  setsid();                             // the terminal's signals are the keeper's alone
  if (place(fds, wire::kControlFd)) {
    restore_limit();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(path, argv, environ);
  }
  *error_out = errno;
  _exit(127);
}

// ---- back in the keeper

// FD moved above the numbers that launch_enter overwrites.
UniqueFd move_up(UniqueFd fd) {
  if (fd.get() >= kHighFd) return fd;
  return UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, kHighFd));
}

pid_t outcome(pid_t pid, int saved_errno, int child_error) {
  if (pid < 0) return -saved_errno;
  if (child_error == 0) return pid;
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return -child_error;
}

}  // namespace

UniqueFd load_program(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  struct stat st {};
  if (fstat(file.get(), &st) != 0) return {};
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  UniqueFd memory(memfd_create("enter", kFlags | MFD_EXEC));
  if (!memory && errno == EINVAL) memory.reset(memfd_create("enter", kFlags));
  if (!memory) return move_up(std::move(file));
  off_t at = 0;
  while (at < st.st_size) {
    ssize_t n = sendfile(memory.get(), file.get(), &at, static_cast<std::size_t>(st.st_size - at));
    if (n <= 0) return {};
  }
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (fchmod(memory.get(), 0555) != 0 || fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) return {};
  return move_up(std::move(memory));
}

void raise_descriptor_limit() {
  if (getrlimit(RLIMIT_NOFILE, &original_limit) != 0) return;
  rlimit raised{original_limit.rlim_max, original_limit.rlim_max};
  limit_raised = setrlimit(RLIMIT_NOFILE, &raised) == 0;
}

std::uint64_t original_descriptor_limit() { return original_limit.rlim_cur; }

void set_original_descriptor_limit(std::uint64_t soft) { original_limit.rlim_cur = soft; }

UniqueFd move_out_of_the_way(UniqueFd fd) {
  if (fd.get() >= kHeldFd) return fd;
  UniqueFd moved(fcntl(fd.get(), F_DUPFD_CLOEXEC, kHeldFd));
  return moved ? std::move(moved) : std::move(fd);
}

pid_t launch_enter(int program, std::span<const int> fds) {
  std::vector<int> places(fds.begin(), fds.end());
  char name[] = "keepwell-enter";
  std::array<char*, 2> argv{name, nullptr};
  std::array<char*, 1> env{nullptr};
  EnterLaunch launch{program, places, argv.data(), env.data()};
  pid_t pid = clone(exec_enter, enter_stack.data() + enter_stack.size(),
                    CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &launch);
  return outcome(pid, errno, launch.error);
}

pid_t launch_attendant(const std::vector<std::string>& argv, std::span<const int> fds,
                       bool outlives) {
  std::vector<int> sources(fds.begin(), fds.end());
  std::vector<char*> arguments;
  for (const std::string& argument : argv) {
    arguments.push_back(const_cast<char*>(argument.c_str()));  // execve does not write to them
  }
  arguments.push_back(nullptr);
  volatile int child_error = 0;
  pid_t pid = vfork_attendant(argv.front().c_str(), sources, arguments.data(), getpid(), outlives,
                              &child_error);
  return outcome(pid, errno, child_error);
}

}  // namespace keepwell
