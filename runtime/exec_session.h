// A program that somebody started in a running container: `docker exec`, `keepwell exec`. It joins
// the container's own cgroup, with namespaces, identity and filters as its first process has them,
// and is frozen with it.
//
//   auto session = engine.exec({.container = ref, .argv = {"sh"}, .tty = true}, {.on_started =
//   ...}); in on_started: session->take_terminal(); else take_stdin(), take_stdout(), take_stderr()
//   at once
//
// Texts and exit codes are Docker's. Destroying the object forgets the process, which goes on;
// whoever wants it to end calls kill() before.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/result.h"
#include "runtime/engine.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class Container;
class EngineContext;
class EnterProcess;
class ExecLeaves;
struct ExecLeaf;

struct ExecSessionOrder {
  ContainerRef container;
  std::vector<std::string> argv;
  std::vector<std::string> env;  // over the container's; "NAME" without '=' takes it away
  std::string user;              // empty: the container's
  std::string cwd;               // empty: the container's
  bool privileged = false;
  bool tty = false;
  int rows = 0, columns = 0;  // of the terminal; 0: as the kernel makes it
  bool attach_stdin = false, attach_stdout = false,
       attach_stderr = false;  // without tty; others are /dev/null
  bool detached = false;       // goes on when the agent dies; else everything in it is then killed
};

// Called from the loop, never from inside exec(); may destroy the session. on_failed, or on_started
// and then on_exited.
struct ExecSessionHandlers {
  std::function<void(pid_t pid)> on_started;
  std::function<void(int exit_code, std::string text)> on_failed;  // 126, 127 or 128
  std::function<void(int exit_code)> on_exited;  // output may still be in the pipes
};

class ExecSession {
 public:
  ~ExecSession();
  ExecSession(const ExecSession&) = delete;
  ExecSession& operator=(const ExecSession&) = delete;

  // Our ends of the pipes that the order attached; the caller's from then on. Empty where nothing
  // was attached, and when asked a second time. Closing stdin is the program's end of file.
  UniqueFd take_stdin() { return std::move(stdin_); }
  UniqueFd take_stdout() { return std::move(stdout_); }
  UniqueFd take_stderr() { return std::move(stderr_); }
  // A descriptor of the terminal's master; there from on_started on. May be taken once.
  UniqueFd take_terminal() { return std::move(terminal_); }

  // Errc::conflict where there is no terminal (yet), or the program has ended.
  Status resize(int rows, int columns);

  Status signal(int number);

  // SIGKILL to all of it; to the program alone where it is detached.
  void kill();

  pid_t pid() const;

 private:
  friend class LinuxEngine;
  ExecSession() = default;
  static Result<std::unique_ptr<ExecSession>> start(EngineContext& context, Container& container,
                                                    const ExecSessionOrder& order,
                                                    ExecSessionHandlers handlers);
  void started();
  void failed(int exit_code, std::string text);
  void exited(int exit_code);

  ExecSessionHandlers handlers_;
  UniqueFd stdin_, stdout_, stderr_;
  UniqueFd tty_socket_;  // where the terminal's master arrives
  UniqueFd terminal_, own_terminal_;
  std::shared_ptr<ExecLeaves> leaves_;
  std::unique_ptr<ExecLeaf> leaf_;
  std::unique_ptr<EnterProcess> process_;
};

}  // namespace keepwell
