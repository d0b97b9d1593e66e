// Stands in for keepwell-enter in the keeper's tests: the same contract of descriptors, name and
// CLONE_PARENT, but what it makes is `sh` reading its commands from descriptor 0. Before the clone
// it obeys descriptor 2 of the order if there is one: a byte 'f' there makes it fail with code 7,
// 'k' makes it kill itself after it has said what it made.
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "runtime/enter/plan_format.h"

int main(int argc, char**) {
  if (argc != 1) return 9;
  char order = 0;
  if (pread(2, &order, 1, 0) == 1 && order == 'f') return 7;
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
