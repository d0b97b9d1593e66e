// What a container's root may try against those who enter it; static, run inside by the tests.
//   attacker sniff SECONDS   looks into every process that is still keepwell-enter: its memory, its
//                            descriptors, its environment, by ptrace. Prints what it got hold of.
//   attacker pry SECONDS SECRET  with CAP_SYS_PTRACE everything of such a process can be read:
//   prints
//                            how many were, the highest of their descriptors, how many of those
//                            lead to a directory or a file, how many mappings are of foreign files,
//                            and how often SECRET was found in their memory and environment.
//   attacker stop SECONDS    SIGSTOPs everything, all the time.
//   attacker bomb            forks without end.
#include <dirent.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
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

// The kernel names a program that came from a memfd after it; a zygote's clones are named like it.
bool is_entering(int pid) {
  char text[32] = {};
  int fd = open(of(pid, "comm").c_str(), O_RDONLY);
  if (fd < 0) return false;
  (void)!read(fd, text, sizeof(text) - 1);
  close(fd);
  return strncmp(text, "memfd:", 6) == 0 || strncmp(text, "enter", 5) == 0 ||
         strncmp(text, "keepwell-zygote", 15) == 0;
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

struct Loot {
  long seen = 0, foreign_files = 0, foreign_mappings = 0, secrets = 0;
  int highest = -1;
};

bool starts_with(const char* text, const char* with) {
  return strncmp(text, with, strlen(with)) == 0;
}

// Pipes, /dev/null, and the memory that the plan comes in.
bool harmless(const std::string& link, const char* target) {
  struct stat file {};
  return starts_with(target, "pipe:") || starts_with(target, "socket:") ||
         starts_with(target, "/memfd:keepwell-plan") ||
         (stat(link.c_str(), &file) == 0 && S_ISCHR(file.st_mode) && file.st_rdev == makedev(1, 3));
}

// The container's own user database, in which HOME is looked up where nothing says it.
bool own_passwd(const std::string& link, const char* target) {
  struct stat open_one {
  }, ours{};
  if (strcmp(target, "/etc/passwd") != 0 || stat(target, &ours) != 0) return false;
  if (stat(link.c_str(), &open_one) != 0) return true;  // closed since its name was read
  return open_one.st_dev == ours.st_dev && open_one.st_ino == ours.st_ino;
}

bool own_mapping(const char* name) {
  return *name == '\0' || *name == '[' || starts_with(name, "/memfd:enter") ||
         starts_with(name, "/memfd:keepwell-plan");
}

long count_in(int memory, unsigned long from, unsigned long to, const std::string& secret) {
  std::string bytes(to - from, '\0');
  ssize_t got = pread(memory, bytes.data(), bytes.size(), static_cast<off_t>(from));
  if (got <= 0) return 0;
  bytes.resize(static_cast<std::size_t>(got));
  return bytes.find(secret) != std::string::npos ? 1 : 0;
}

// What is found counts only if the process was still entering afterwards.
void pry(int pid, const std::string& secret, Loot& loot) {
  Loot mine = loot;
  ++mine.seen;
  DIR* fds = opendir(of(pid, "fd").c_str());
  while (const dirent* entry = fds != nullptr ? readdir(fds) : nullptr) {
    if (entry->d_name[0] == '.') continue;
    char target[256] = {};
    const std::string link = of(pid, ("fd/" + std::string(entry->d_name)).c_str());
    if (readlink(link.c_str(), target, 255) <= 0) continue;
    if (atoi(entry->d_name) > mine.highest) mine.highest = atoi(entry->d_name);
    if (!harmless(link, target) && !own_passwd(link, target)) ++mine.foreign_files;
  }
  if (fds != nullptr) closedir(fds);
  int memory = open(of(pid, "mem").c_str(), O_RDONLY);
  FILE* maps = fopen(of(pid, "maps").c_str(), "r");
  char line[512];
  while (maps != nullptr && fgets(line, sizeof(line), maps) != nullptr) {
    unsigned long from = 0, to = 0;
    char mode[8] = {}, name[256] = {};
    if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255[^\n]", &from, &to, mode, name) < 3) continue;
    if (!own_mapping(name)) ++mine.foreign_mappings;
    if (mode[0] == 'r' && to - from <= 1 << 20) mine.secrets += count_in(memory, from, to, secret);
  }
  if (maps != nullptr) fclose(maps);
  if (memory >= 0) close(memory);
  int environment = open(of(pid, "environ").c_str(), O_RDONLY);
  mine.secrets += count_in(environment, 0, 4096, secret);
  if (environment >= 0) close(environment);
  if (is_entering(pid)) loot = mine;
}

void pry_all(time_t until, const std::string& secret) {
  Loot loot;
  int self = getpid();
  while (time(nullptr) < until) {
    DIR* proc = opendir("/proc");
    while (const dirent* entry = proc != nullptr ? readdir(proc) : nullptr) {
      int pid = atoi(entry->d_name);
      if (pid > 1 && pid != self && is_entering(pid)) pry(pid, secret, loot);
    }
    if (proc != nullptr) closedir(proc);
  }
  printf("seen %ld highest %d files %ld mappings %ld secrets %ld\n", loot.seen, loot.highest,
         loot.foreign_files, loot.foreign_mappings, loot.secrets);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  time_t until = time(nullptr) + (argc > 2 ? atoi(argv[2]) : 0);
  if (strcmp(argv[1], "sniff") == 0) {
    sniff_all(until);
  } else if (strcmp(argv[1], "pry") == 0 && argc > 3) {
    pry_all(until, argv[3]);
  } else if (strcmp(argv[1], "stop") == 0) {
    while (time(nullptr) < until) kill(-1, SIGSTOP);
  } else if (strcmp(argv[1], "bomb") == 0) {
    for (;;) {
      if (fork() < 0) usleep(1000);
    }
  }
  return 0;
}
