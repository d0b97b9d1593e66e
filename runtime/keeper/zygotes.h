// The zygotes that the agent has ordered (enter/zygote.cc): each waits within one container and
// makes the process of a spawn by a clone, which is the keeper's child like any other. It lives on
// the keeper's end of its control socket: when that is shut, it answers what it was asked and ends.
// Nobody waits for one: a frozen or stopped zygote only leaves its own spawn unanswered.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <unordered_map>

#include "runtime/unique_fd.h"

namespace keepwell {

class Zygotes {
 public:
  struct Zygote {
    pid_t pid = 0;
    UniqueFd control;
    bool serves = false;      // it is where its clones are to be
    std::uint64_t asked = 0;  // the spawn that it has not answered; 0: none
  };
  struct Events {
    std::function<void(std::uint64_t id, const Zygote&)> on_serves;
    std::function<void(std::uint64_t id, int status)> on_ended;  // STATUS as waitpid says
    std::function<void(std::uint64_t spawn, pid_t made)> on_made;
    std::function<void(std::uint64_t spawn, int error_number)> on_not_made;
    std::function<void(int fd, std::uint64_t id)> watch;  // call readable(ID) when FD is
  };

  void set_events(Events events) { events_ = std::move(events); }

  // Starts PROGRAM (keepwell-enter) with FDS; CONTROL is our end of its control socket. 0 or errno.
  // on_serves, or on_ended, follows.
  int start(std::uint64_t id, int program, std::span<const int> fds, UniqueFd control);

  // Has zygote ID make the process of SPAWN, which gets FDS (kZygoteRequestFds). 0, or errno with
  // nothing asked (EAGAIN: it has not answered the last one). on_made or on_not_made follows,
  // possibly after the process has ended.
  int ask(std::uint64_t id, std::uint64_t spawn, std::span<const int> fds);

  void readable(std::uint64_t id);

  // Whatever answers there are; a process that ended may be of one of them.
  void read_all();

  // By SIGKILL, but one that was asked for something first answers.
  void end(std::uint64_t id);
  void end_all();

  bool has(pid_t pid) const { return by_pid_.contains(pid); }

  // PID was reaped. Returns whether it was one of these; what it had not answered is then not made.
  bool died(pid_t pid, int status);

  const std::map<std::uint64_t, Zygote>& all() const { return zygotes_; }
  Zygote& restore(std::uint64_t id, pid_t pid);  // for an upgrade

 private:
  void read_answers(std::uint64_t id, Zygote& zygote);

  std::map<std::uint64_t, Zygote> zygotes_;
  std::unordered_map<pid_t, std::uint64_t> by_pid_;
  Events events_;
};

}  // namespace keepwell
