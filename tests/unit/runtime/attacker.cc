// What a container's root may try against those who enter it; static, run inside by the tests.
//   attacker sniff SECONDS   looks into every process that is still keepwell-enter: its memory, its
//                            descriptors, its environment, by ptrace. Prints what it got hold of.
//   attacker stop SECONDS    SIGSTOPs everything, all the time.
//   attacker bomb            forks without end.
#include <dirent.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

namespace {

std::string of(int pid, const char* name) { return "/proc/" + std::to_string(pid) + "/" + name; }

// The kernel names a program that came from a memfd after it.
bool is_entering(int pid) {
  char text[32] = {};
  int fd = open(of(pid, "comm").c_str(), O_RDONLY);
  if (fd < 0) return false;
  (void)!read(fd, text, sizeof(text) - 1);
  close(fd);
  return strncmp(text, "memfd:", 6) == 0 || strncmp(text, "enter", 5) == 0;
}

struct Hits {
  long seen = 0, memory = 0, descriptors = 0, environment = 0, cwd = 0, ptrace = 0;
};

// A hit counts only if the process was still entering when we had it.
void sniff(int pid, Hits& hits) {
  ++hits.seen;
  int memory = open(of(pid, "mem").c_str(), O_RDWR);
  if (memory >= 0 && is_entering(pid)) ++hits.memory;
  if (memory >= 0) close(memory);
  char target[256];  // listing fd/ is no harm; following what is in it would be
  if (readlink(of(pid, "fd/0").c_str(), target, sizeof(target)) > 0 && is_entering(pid)) {
    ++hits.descriptors;
  }
  char byte = 0;
  int environment = open(of(pid, "environ").c_str(), O_RDONLY);
  if (environment >= 0 && read(environment, &byte, 1) > 0 && is_entering(pid)) ++hits.environment;
  if (environment >= 0) close(environment);
  if (readlink(of(pid, "cwd").c_str(), target, sizeof(target)) > 0 && is_entering(pid)) ++hits.cwd;
  if (ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) == 0) {
    if (is_entering(pid)) ++hits.ptrace;
    ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
  }
}

void sniff_all(time_t until) {
  Hits hits;
  int self = getpid();
  while (time(nullptr) < until) {
    DIR* proc = opendir("/proc");
    while (const dirent* entry = proc != nullptr ? readdir(proc) : nullptr) {
      int pid = atoi(entry->d_name);
      if (pid > 1 && pid != self && is_entering(pid)) sniff(pid, hits);
    }
    if (proc != nullptr) closedir(proc);
  }
  printf("seen %ld memory %ld descriptors %ld environment %ld cwd %ld ptrace %ld\n", hits.seen,
         hits.memory, hits.descriptors, hits.environment, hits.cwd, hits.ptrace);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  time_t until = time(nullptr) + (argc > 2 ? atoi(argv[2]) : 0);
  if (strcmp(argv[1], "sniff") == 0) {
    sniff_all(until);
  } else if (strcmp(argv[1], "stop") == 0) {
    while (time(nullptr) < until) kill(-1, SIGSTOP);
  } else if (strcmp(argv[1], "bomb") == 0) {
    for (;;) {
      if (fork() < 0) usleep(1000);
    }
  }
  return 0;
}
