// Prints everything that a process can learn about itself and that entering a container may get
// wrong, a line each, "name: value". Static, so that it runs in any root; run twice, by `runc exec`
// and by keepwell-enter, the two texts must be equal (enter_oracle_test.cc).
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

extern char** environ;

namespace {

std::string read_all(const char* path) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) return std::string("<") + strerror(errno) + ">";
  std::string text;
  char chunk[4096];
  ssize_t got = 0;
  while ((got = read(fd, chunk, sizeof(chunk))) > 0) text.append(chunk, static_cast<size_t>(got));
  close(fd);
  return text;
}

void print_lines(const std::string& name, const std::string& text) {
  size_t at = 0;
  while (at < text.size()) {
    size_t end = std::min(text.find('\n', at), text.size());
    printf("%s: %s\n", name.c_str(), text.substr(at, end - at).c_str());
    at = end + 1;
  }
}

void print_status() {
  static const char* const kKeys[] = {"Uid",
                                      "Gid",
                                      "Groups",
                                      "CapInh",
                                      "CapPrm",
                                      "CapEff",
                                      "CapBnd",
                                      "CapAmb",
                                      "NoNewPrivs",
                                      "Seccomp",
                                      "Seccomp_filters",
                                      "SigPnd",
                                      "ShdPnd",
                                      "SigBlk",
                                      "SigIgn",
                                      "SigCgt",
                                      "Umask",
                                      "Speculation_Store_Bypass",
                                      "Cpus_allowed_list",
                                      "Mems_allowed_list",
                                      "THP_enabled",
                                      "Threads",
                                      "TracerPid",
                                      "SigQ_limit"};
  std::string text = read_all("/proc/self/status");
  for (const char* key : kKeys) {
    size_t at = ("\n" + text).find(std::string("\n") + key + ":");
    if (at == std::string::npos) continue;
    print_lines("status", text.substr(at, text.find('\n', at) - at));
  }
}

void print_descriptors() {
  std::vector<int> fds;
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory)) {
      fds.push_back(atoi(entry->d_name));
    }
  }
  closedir(directory);
  std::sort(fds.begin(), fds.end());
  for (int fd : fds) {
    struct stat info {};
    fstat(fd, &info);
    if (fd == 0) {
      printf("fd: 0\n");
      continue;
    }
    bool reopens = false;
    int again = open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_WRONLY | O_NONBLOCK);
    if (again >= 0) {
      reopens = true;
      close(again);
    }
    printf("fd: %d fifo=%d uid=%u mode=%o reopens=%d\n", fd, S_ISFIFO(info.st_mode), info.st_uid,
           info.st_mode & 0777, reopens);
  }
}

void print_scheduling() {
  printf("nice: %d\n", getpriority(PRIO_PROCESS, 0));
  printf("policy: %d\n", sched_getscheduler(0));
  sched_param param{};
  sched_getparam(0, &param);
  printf("rtprio: %d\n", param.sched_priority);
  printf("ioprio: %ld\n", syscall(SYS_ioprio_get, 1, 0));
  printf("dumpable: %d\n", prctl(PR_GET_DUMPABLE));
  printf("securebits: %d\n", prctl(PR_GET_SECUREBITS));
  printf("keepcaps: %d\n", prctl(PR_GET_KEEPCAPS));
  int value = 0;
  prctl(PR_GET_PDEATHSIG, &value);
  printf("pdeathsig: %d\n", value);
  prctl(PR_GET_CHILD_SUBREAPER, &value);
  printf("subreaper: %d\n", value);
  printf("timerslack: %d\n", prctl(PR_GET_TIMERSLACK));
}

void print_session() {
  printf("sees_its_parent: %d\n", getppid() != 0);
  printf("session_leader: %d\n", getsid(0) == getpid());
  printf("group_leader: %d\n", getpgrp() == getpid());
  std::string stat = read_all("/proc/self/stat");
  size_t at = stat.rfind(')');
  char state = 0;
  int ppid = 0, pgrp = 0, session = 0, tty = 0;
  if (at != std::string::npos &&
      sscanf(stat.c_str() + at + 1, " %c %d %d %d %d", &state, &ppid, &pgrp, &session, &tty) == 5) {
    printf("tty: %d\n", tty);
  }
  char text[256] = {};
  long serial = syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -3 /* session */, 0);
  if (serial > 0) syscall(SYS_keyctl, 6 /* DESCRIBE */, serial, text, sizeof(text) - 1);
  printf("session_keyring: %s\n", text);
  printf("session_keyring_serial: %ld\n", serial);
}

void print_namespaces() {
  for (const char* name : {"mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time"}) {
    char link[128] = {};
    (void)!readlink((std::string("/proc/self/ns/") + name).c_str(), link, sizeof(link) - 1);
    printf("ns: %s %s\n", name, link);
  }
}

}  // namespace

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOFBF, 1 << 16);
  for (int i = 0; i < argc; ++i) printf("arg: %s\n", argv[i]);
  print_status();
  for (const char* name :
       {"oom_score_adj", "limits", "coredump_filter", "personality", "loginuid", "sessionid",
        "attr/current", "cgroup", "uid_map", "gid_map", "setgroups", "timens_offsets"}) {
    print_lines(name, read_all((std::string("/proc/self/") + name).c_str()));
  }
  std::string mounts = read_all("/proc/self/mountinfo");
  printf("mounts: %zu\n", static_cast<size_t>(std::count(mounts.begin(), mounts.end(), '\n')));
  char cwd[4096] = "<none>";
  (void)!getcwd(cwd, sizeof(cwd));
  printf("cwd: %s\n", cwd);
  std::vector<std::string> env;
  for (char** entry = environ; *entry != nullptr; ++entry) env.push_back(*entry);
  std::sort(env.begin(), env.end());
  for (const std::string& entry : env) printf("env: %s\n", entry.c_str());
  print_descriptors();
  print_scheduling();
  print_session();
  print_namespaces();
  fflush(stdout);
  return 0;
}
