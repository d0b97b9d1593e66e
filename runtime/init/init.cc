// keepwell-init: the first process of a container with `init: true`, as docker-init is in Docker.
//
//   /sbin/docker-init -- PROGRAM ARGUMENT...
//
// It starts PROGRAM, hands every signal on to it, reaps whatever ends in the container, and ends
// with PROGRAM's exit code (128 + the signal that killed it). With it a service that knows nothing
// of zombies leaves none, and one without handlers can be stopped: as pid 1 it would not hear
// SIGTERM. It runs in images that contain nothing, so it has no libc.
//
// It does not wait for the others when PROGRAM has ended; the kernel ends them with the container.
#include <asm/ioctls.h>
#include <asm/signal.h>

#include "runtime/enter/start.h"

namespace keepwell {
namespace {

using SignalSet = unsigned long;  // the kernel's, of 64 signals
constexpr long kSetBytes = 8;
constexpr long kNoHang = 1;

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr unsigned long kPathBytesMax = 4096;
char candidate[kPathBytesMax];

struct KernelSigaction {
  long handler;
  unsigned long flags;
  void* restorer;
  SignalSet mask;
};
constexpr long kDefault = 0;
constexpr long kIgnore = 1;

constexpr SignalSet bit(int signal) { return SignalSet{1} << (signal - 1); }

// These are about this process itself; it would be wrong to wait with them, or to hand them on.
constexpr SignalSet kOwn = bit(SIGILL) | bit(SIGTRAP) | bit(SIGABRT) | bit(SIGBUS) | bit(SIGFPE) |
                           bit(SIGSEGV) | bit(SIGSYS);

void set_action(int signal, long handler) {
  KernelSigaction action = {};
  action.handler = handler;
  kernel(__NR_rt_sigaction, signal, address(&action), 0, kSetBytes);
}

unsigned long length(const char* text) {
  unsigned long size = 0;
  while (text[size] != '\0') ++size;
  return size;
}

void say(const char* text) {
  kernel(__NR_write, 2, address(text), static_cast<long>(length(text)));
}

const char* search_path(char** environment) {
  for (char** entry = environment; *entry != nullptr; ++entry) {
    const char* text = *entry;
    if (text[0] == 'P' && text[1] == 'A' && text[2] == 'T' && text[3] == 'H' && text[4] == '=') {
      return text + 5;
    }
  }
  return kDefaultPath;
}

// As execvp does, without its detour over a shell. Returns why none could be run, a negative errno.
long execute(char** argv, char** environment) {
  const char* name = argv[0];
  unsigned long size = length(name);
  for (unsigned long i = 0; i < size; ++i) {
    if (name[i] == '/') {
      return kernel(__NR_execve, address(name), address(argv), address(environment));
    }
  }
  long why = -2;  // ENOENT
  for (const char* path = search_path(environment); size > 0;) {
    unsigned long used = 0;
    for (; *path != '\0' && *path != ':'; ++path) {
      if (used < kPathBytesMax) candidate[used++] = *path;
    }
    if (used + 1 + size < kPathBytesMax) {
      if (used > 0) candidate[used++] = '/';  // an empty entry is the working directory
      for (unsigned long i = 0; i <= size; ++i) candidate[used + i] = name[i];
      long result = kernel(__NR_execve, address(candidate), address(argv), address(environment));
      if (result != -2 && result != -20 /* ENOTDIR */) why = result;
    }
    if (*path == '\0') break;
    ++path;
  }
  return why;
}

// In the child: a process group of its own, in the foreground where there is a terminal, and the
// signals as they were.
[[noreturn]] void run(char** argv, char** environment, SignalSet mask) {
  kernel(__NR_setpgid, 0, 0);
  int group = static_cast<int>(kernel(__NR_getpid));
  kernel(__NR_ioctl, 0, TIOCSPGRP, address(&group));
  set_action(SIGTTIN, kDefault);
  set_action(SIGTTOU, kDefault);
  kernel(__NR_rt_sigprocmask, SIG_SETMASK, address(&mask), 0, kSetBytes);
  long result = execute(argv, environment);
  say("docker-init: cannot run ");
  say(argv[0]);
  say(result == -2    ? ": no such file or directory\n"
      : result == -13 ? ": permission denied\n"
      : result == -8  ? ": exec format error\n"
                      : ": it cannot be executed\n");
  exit_process(result == -2 ? 127 : 126);
}

// Reaps all that has ended. The exit code of CHILD, if it was among them, else -1.
int reap(long child) {
  int code = -1;
  for (;;) {
    int status = 0;
    long pid = kernel(__NR_wait4, -1, address(&status), kNoHang, 0);
    if (pid <= 0) return code;
    if (pid != child) continue;
    int killed_by = status & 0x7f;
    code = killed_by != 0 ? 128 + killed_by : (status >> 8) & 0xff;
  }
}

}  // namespace

[[noreturn]] void start_program(long argc, char** argv) {
  char** environment = argv + argc + 1;
  bool separated = argc > 1 && argv[1][0] == '-' && argv[1][1] == '-' && argv[1][2] == '\0';
  char** program = argv + (separated ? 2 : 1);
  if (argc < 1 || program >= argv + argc) {
    say("usage: docker-init -- PROGRAM ARGUMENT...\n");
    exit_process(2);
  }
  SignalSet all = ~kOwn;
  SignalSet before = 0;
  kernel(__NR_rt_sigprocmask, SIG_SETMASK, address(&all), address(&before), kSetBytes);
  set_action(SIGTTIN, kIgnore);  // so that handing over the terminal does not stop us
  set_action(SIGTTOU, kIgnore);
  long child = kernel(__NR_clone, SIGCHLD);
  if (child == 0) run(program, environment, before);
  if (child < 0) {
    say("docker-init: cannot start a process\n");
    exit_process(126);
  }
  for (;;) {
    long signal = kernel(__NR_rt_sigtimedwait, address(&all), 0, 0, kSetBytes);
    if (signal == SIGCHLD) {
      if (int code = reap(child); code >= 0) exit_process(code);
    } else if (signal > 0) {
      kernel(__NR_kill, child, signal);
    }
  }
}

}  // namespace keepwell
