// Stands in for keepwell-enter in the keeper's tests: the same contract of descriptors, slot and
// CLONE_PARENT, but what it makes is `sh` reading its commands from descriptor 0. Before the clone
// it obeys descriptor 2 of the order if there is one: a byte 'f' there makes it fail with code 7,
// 'k' makes it kill itself after the clone.
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>

int main(int argc, char** argv) {
  if (argc != 3) return 9;
  int count = std::atoi(argv[1]);
  int slot = std::atoi(argv[2]);
  void* map = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, count, 0);
  if (map == MAP_FAILED) return 8;
  auto* slots = static_cast<std::uint32_t*>(map);
  char order = 0;
  if (count > 2 && pread(2, &order, 1, 0) == 1 && order == 'f') return 7;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  long pid = syscall(SYS_clone, CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD, nullptr, &slots[slot],
                     nullptr, 0);
  if (pid < 0) return 6;
  if (pid == 0) {
    setsid();
    char name[] = "sh";
    char* const arguments[] = {name, nullptr};
    char path[] = "PATH=/usr/bin:/bin";
    char* const env[] = {path, nullptr};
    execve("/bin/sh", arguments, env);
    _exit(127);
  }
  if (order == 'k') raise(SIGKILL);
  return 0;
}
