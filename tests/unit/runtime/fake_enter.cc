// Stands in for keepwell-enter in the keeper's tests: the same contract of descriptors, name and
// CLONE_PARENT, but what it makes is `sh` reading its commands from descriptor 0. Before the clone
// it obeys descriptor 2 of the order if there is one: a byte 'f' there makes it fail with code 7,
// 'k' makes it kill itself after it has said what it made. 'z', 'l' and 'L' make it a zygote whose
// clones exit with 5; the second answers late, the third lies and says that it made the keeper.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "runtime/enter/plan_format.h"

namespace {

int serve(char how) {
  auto answer = [](long pid) {
    keepwell::ZygoteAnswer text{static_cast<std::int32_t>(pid)};
    send(keepwell::kStatusFd, &text, sizeof(text), MSG_NOSIGNAL);
  };
  fcntl(keepwell::kStatusFd, F_SETFL, 0);
  answer(0);
  for (char byte = 0; recv(keepwell::kStatusFd, &byte, 1, 0) == 1;) {
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, 0);
    if (pid == 0) _exit(5);
    if (how == 'l') poll(nullptr, 0, 100);
    answer(how == 'L' ? getppid() : pid);
  }
  return 0;
}

}  // namespace

int main(int argc, char**) {
  if (argc != 1) return 9;
  char order = 0;
  if (pread(2, &order, 1, 0) == 1 && order == 'f') return 7;
  if (order == 'z' || order == 'l' || order == 'L') return serve(order);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  int named[2];  // what was made begins only when this is said, as with keepwell-enter
  if (pipe2(named, O_CLOEXEC) != 0) return 8;
  long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, 0);
  if (pid < 0) return 6;
  if (pid == 0) {
    close(named[1]);
    while (read(named[0], &order, 1) != 0) {
    }
    setsid();
    char name[] = "sh";
    char* const arguments[] = {name, nullptr};
    char path[] = "PATH=/usr/bin:/bin";
    char* const env[] = {path, nullptr};
    execve("/bin/sh", arguments, env);
    _exit(127);
  }
  char name[32];
  std::snprintf(name, sizeof name, "%s%ld", keepwell::kClonePrefix, pid);
  prctl(PR_SET_NAME, name);
  if (order == 'k') raise(SIGKILL);
  return 0;
}
