// Everything the keeper is the parent of, from the order to the acknowledged exit: spawned
// processes, claimed ones, and the exits of strangers (a subreaper inherits orphans) that somebody
// may yet claim. Knows neither the agent nor sockets: what happens is told through Events.
//
// A spawn is two processes. The helper (keepwell-enter) makes the final one with CLONE_PARENT, so
// that it is our child too, and says by its own name which it is. Whichever of the two is reaped
// first, that name says who belongs to whom. A zygote (zygotes.h) makes them without a helper.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/keeper_protocol.h"
#include "runtime/unique_fd.h"

namespace keepwell {

struct ChildProcess {
  std::uint64_t id = 0;
  pid_t pid = 0;  // 0 until the helper has made it
  std::uint64_t start_ticks = 0;
  bool claimed = false;  // not spawned by us
  bool durable = false;
  bool doomed = false;  // ephemeral, and its agent is gone: killed as soon as it is there
  bool ended = false;   // `exit` says how; kept until acknowledged
  UniqueFd pidfd;       // only of one that is not our child: how its end is noticed
  std::uint64_t recheck_until_ms = 0;  // of such a one: ended, its status is still looked for
  std::string kill_cgroup;
  std::string key;
  wire::Exited exit{};
};

class Children {
 public:
  struct Events {
    std::function<void(const ChildProcess&, int pidfd)> on_started;
    std::function<void(std::uint64_t id, int error_number, int enter_status)> on_failed;
    std::function<void(const ChildProcess&)> on_exited;
    std::function<bool(pid_t)> is_other;                  // is this one yours (agent, logger)?
    std::function<void()> before_stranger;                // an unknown one ended: made() may be due
    std::function<bool(pid_t, int status)> on_other;      // ... and has ended: is it?
    std::function<void(const ChildProcess&)> on_foreign;  // watch its pidfd
  };

  Children() = default;
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  void set_events(Events events) { events_ = std::move(events); }

  // Starts PROGRAM (keepwell-enter) for CHILD. on_started or on_failed follows, at the earliest
  // from reap(); a failure that is known at once is returned as errno, and CHILD is forgotten.
  int spawn(ChildProcess child, int program, std::span<const int> fds);

  // CHILD's process is made elsewhere: made() or not_made() follows. 0, or EEXIST.
  int expect(ChildProcess child);
  // PID is said to be the process of ID. If it is a child that nothing else is known of, on_started
  // follows, and on_exited if it has ended; else on_failed.
  void made(std::uint64_t id, pid_t pid);
  void not_made(std::uint64_t id, int error_number, int status = 0);

  // Takes over CHILD.pid if it is the process that began at start_ticks: our child, a foreign
  // process, or one that ended while nobody knew it. 0, or errno (ESRCH). On 0 on_started is
  // called, with pidfd -1 if it has ended; then on_exited.
  int claim(ChildProcess child);

  void acknowledge(std::uint64_t id);

  // Collects whatever has ended. Call on SIGCHLD, with the child that it NAMED (others may have
  // ended with it), and when a foreign pidfd is ready. To name one saves a walk over all children.
  void reap(pid_t named = 0);

  // Looks again at foreign processes that ended without a status; true while some remain.
  bool recheck_foreign(std::uint64_t now_ms);
  void foreign_ready(std::uint64_t id, std::uint64_t now_ms);

  // The agent is gone: ends every ephemeral process, with its cgroup.
  void kill_ephemeral();

  const std::map<std::uint64_t, ChildProcess>& all() const { return children_; }
  std::size_t alive() const;

  // A new pidfd of CHILD, which is ours and has not been reaped.
  static UniqueFd open_pidfd_of(const ChildProcess& child);
  wire::Stats& stats() { return stats_; }
  const wire::Stats& stats_so_far() const { return stats_; }

  // For an upgrade: what is not in all().
  struct Stranger {  // an orphan's exit that nobody has claimed
    pid_t pid = 0;
    std::uint64_t start_ticks = 0;
    wire::Exited exit{};
  };
  const std::unordered_map<pid_t, std::uint64_t>& helpers() const { return helpers_; }
  const std::deque<Stranger>& strangers() const { return strangers_; }
  void restore(ChildProcess child);
  void restore(pid_t helper, std::uint64_t id) { helpers_[helper] = id; }
  void restore(Stranger stranger) { strangers_.push_back(stranger); }

 private:
  void began(ChildProcess& child, pid_t pid);
  void ended(ChildProcess& child, const wire::Exited& exit);
  bool is_free(pid_t pid) const;
  void helper_ended(pid_t pid, pid_t made, int status);
  ChildProcess* find_by_pid(pid_t pid, std::uint64_t start_ticks);
  void end_one(ChildProcess& child);
  bool settle_foreign(ChildProcess& child, std::uint64_t now_ms);

  Events events_;
  std::map<std::uint64_t, ChildProcess> children_;
  std::unordered_map<pid_t, std::uint64_t> by_pid_;   // of our own living children
  std::unordered_map<pid_t, std::uint64_t> helpers_;  // keepwell-enter, and for which child
  std::deque<Stranger> strangers_;
  wire::Stats stats_{};
};

}  // namespace keepwell
