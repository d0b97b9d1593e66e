#include "runtime/tool.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "runtime/loop.h"
#include "runtime/oci/runtime_finder.h"
#include "runtime/state_file.h"
#include "runtime/unique_fd.h"

extern char** environ;

namespace keepwell {

namespace {

constexpr Duration kTick = std::chrono::milliseconds(200);

struct Pipe {
  UniqueFd out, in;
};

bool make_pipe(Pipe& made) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  made.out.reset(ends[0]);
  made.in.reset(ends[1]);
  fcntl(made.out.get(), F_SETFL, O_NONBLOCK);
  return true;
}

// Reads what is there. False at the end.
bool drain(int fd, std::string& into, std::size_t limit) {
  char buffer[65536];
  for (;;) {
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    if (n == 0) return false;
    into.append(buffer,
                std::min(static_cast<std::size_t>(n), limit - std::min(limit, into.size())));
  }
}

pid_t spawn(const ToolOrder& order, const Pipe& out, const Pipe& err, ToolResult& result) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.in.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, err.in.get(), 2);
  std::vector<char*> argv;
  for (const std::string& word : order.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  int error = posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == 0) return pid;
  result.errors = std::string("cannot run ") + argv[0] + ": " + std::strerror(error);
  return 0;
}

}  // namespace

ToolResult run_tool(const ToolOrder& order) {
  ToolResult result;
  Pipe out, err;
  if (!make_pipe(out) || !make_pipe(err)) {
    result.errors = Error::os(errno, "cannot make a pipe").text;
    return result;
  }
  pid_t pid = spawn(order, out, err, result);
  out.in.reset();
  err.in.reset();
  if (pid == 0) return result;
  result.started = true;
  const Instant begun = Loop::now().mono;
  Instant next_tick = begun + kTick;
  int status = 0;
  bool out_open = true, err_open = true;
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0U)));
  while (waitpid(pid, &status, WNOHANG) == 0) {
    pollfd waiting[] = {{out_open ? out.out.get() : -1, POLLIN, 0},
                        {err_open ? err.out.get() : -1, POLLIN, 0},
                        {pidfd.get(), POLLIN, 0}};
    poll(waiting, 3, pidfd ? 50 : 5);
    if (waiting[0].revents != 0) out_open = drain(out.out.get(), result.output, order.output_max);
    if (waiting[1].revents != 0) err_open = drain(err.out.get(), result.errors, order.output_max);
    const Instant now = Loop::now().mono;
    if (order.on_tick && now >= next_tick) {
      next_tick = now + kTick;
      result.stopped = order.on_tick(pid);
    }
    result.timed_out = order.timeout.count() != 0 && now - begun >= order.timeout;
    if (!result.timed_out && result.stopped) continue;
    kill(pid, SIGKILL);  // our own child, not reaped yet: the number is still its own
    waitpid(pid, &status, 0);
    break;
  }
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  drain(out.out.get(), result.output, order.output_max);
  drain(err.out.get(), result.errors, order.output_max);
  return result;
}

Result<std::string> find_tool(const std::string& name) {
  std::string path = find_program(name);
  if (!path.empty()) return path;
  const bool system = name == "setpriv" || name == "prlimit";
  return fail(Errc::not_found, "cannot find " + name + "; install it (Debian: apt-get install " +
                                   (system ? "util-linux" : name) + ")");
}

std::uint64_t bytes_written(int pid) {
  Result<std::string> io = read_small_file("/proc/" + std::to_string(pid) + "/io", 4096);
  constexpr std::string_view kField = "\nwchar: ";
  std::size_t at = io ? io->find(kField) : std::string::npos;
  if (at == std::string::npos) return 0;
  std::uint64_t bytes = 0;
  std::from_chars(io->data() + at + kField.size(), io->data() + io->size(), bytes);
  return bytes;
}

}  // namespace keepwell
