#include "runtime/keeper/children.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "runtime/keeper/launch.h"
#include "runtime/keeper/proc_facts.h"

namespace keepwell {
namespace {

constexpr std::size_t kHelpersMax = 1024;    // that have not ended yet; one lives for 1 ms
constexpr std::size_t kStrangersMax = 4096;  // claims come within moments of the exit
constexpr std::uint64_t kRecheckMs = 2000;   // for a foreign zombie to be reaped by its parent

std::int64_t clock_ns(clockid_t clock) {
  timespec ts{};
  clock_gettime(clock, &ts);
  return std::int64_t{ts.tv_sec} * 1'000'000'000 + ts.tv_nsec;
}

wire::Exited exit_now(pid_t pid) {
  wire::Exited exit{};
  exit.pid = pid;
  exit.mono_ns = clock_ns(CLOCK_MONOTONIC);
  exit.wall_ns = clock_ns(CLOCK_REALTIME);
  return exit;
}

void set_status(wire::Exited& exit, int status) {
  exit.known = 1;
  exit.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  exit.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  exit.core = WIFSIGNALED(status) && WCOREDUMP(status) ? 1 : 0;
}

int wait_status(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return (info.si_status & 0x7f) | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

std::uint64_t microseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(time.tv_usec);
}

long wait_for(idtype_t type, pid_t pid, siginfo_t& info, int options, rusage* usage) {
  info = {};
  return syscall(SYS_waitid, type, pid, &info, options | WEXITED | WNOHANG, usage);
}

bool is_our_child(pid_t pid) {
  siginfo_t info{};
  return wait_for(P_PID, pid, info, WNOWAIT, nullptr) == 0;
}

}  // namespace

int Children::spawn(ChildProcess child, int program, std::span<const int> fds) {
  ++stats_.spawns;
  if (children_.contains(child.id)) return EEXIST;
  if (helpers_.size() >= kHelpersMax) return EAGAIN;
  pid_t helper = launch_enter(program, fds);
  if (helper < 0) {
    ++stats_.spawn_failures;
    return -helper;
  }
  helpers_[helper] = child.id;
  children_.emplace(child.id, std::move(child));
  return 0;
}

int Children::expect(ChildProcess child) {
  ++stats_.spawns;
  std::uint64_t id = child.id;
  return children_.emplace(id, std::move(child)).second ? 0 : EEXIST;
}

void Children::made(std::uint64_t id, pid_t pid) {
  auto it = children_.find(id);
  if (it == children_.end() || it->second.pid != 0) return;
  ChildProcess& child = it->second;
  if (is_free(pid)) return began(child, pid);
  // It may have ended, and been reaped as a stranger, before this was said.
  auto gone = std::ranges::find(strangers_, pid, &Stranger::pid);
  if (gone == strangers_.end()) return not_made(id, EPROTO);
  wire::Exited exit = gone->exit;
  strangers_.erase(gone);
  child.pid = pid;
  if (!child.doomed) events_.on_started(child, -1);
  ended(child, exit);
}

void Children::not_made(std::uint64_t id, int error_number, int status) {
  auto it = children_.find(id);
  if (it == children_.end() || it->second.pid != 0) return;
  ++stats_.spawn_failures;
  bool doomed = it->second.doomed;
  children_.erase(it);
  if (!doomed) events_.on_failed(id, error_number, status);
}

int Children::claim(ChildProcess child) {
  if (children_.contains(child.id)) return EEXIST;
  for (auto it = strangers_.begin(); it != strangers_.end(); ++it) {
    if (it->pid != child.pid || it->start_ticks != child.start_ticks) continue;
    wire::Exited exit = it->exit;
    strangers_.erase(it);
    ChildProcess& known = children_.emplace(child.id, std::move(child)).first->second;
    events_.on_started(known, -1);
    ended(known, exit);
    return 0;
  }
  if (find_by_pid(child.pid, child.start_ticks) != nullptr) return EEXIST;
  UniqueFd pidfd(open_pidfd(child.pid));
  if (!pidfd) return errno;
  std::optional<ProcStat> stat = read_proc_stat(child.pid);
  if (!stat || stat->start_ticks != child.start_ticks) return ESRCH;
  bool ours = is_our_child(child.pid);
  ChildProcess& known = children_.emplace(child.id, std::move(child)).first->second;
  events_.on_started(known, pidfd.get());
  if (ours) {
    by_pid_[known.pid] = known.id;
  } else {  // not ours, or not yet: whichever comes first, its end or our reaping it, is taken
    known.pidfd = move_out_of_the_way(std::move(pidfd));
    events_.on_foreign(known);
  }
  return 0;
}

void Children::acknowledge(std::uint64_t id) {
  auto it = children_.find(id);
  if (it != children_.end() && it->second.ended) children_.erase(it);
}

void Children::reap(pid_t named) {
  siginfo_t info{};
  bool first = named > 0 && wait_for(P_PID, named, info, WNOWAIT, nullptr) == 0 && info.si_pid != 0;
  while (first || (wait_for(P_ALL, 0, info, WNOWAIT, nullptr) == 0 && info.si_pid != 0)) {
    first = false;
    pid_t pid = info.si_pid;
    int status = wait_status(info);
    auto by_pid = by_pid_.find(pid);
    ChildProcess* child = by_pid != by_pid_.end() ? &children_.at(by_pid->second) : nullptr;
    bool helper = helpers_.contains(pid);
    std::uint64_t start_ticks = 0;
    if (child == nullptr && !helper) {
      events_.before_stranger();
      if (auto it = by_pid_.find(pid); it != by_pid_.end()) child = &children_.at(it->second);
    }
    if (child == nullptr && !helper) {
      // It may be the process of a helper that is not reaped yet. It is still a zombie, so a pidfd
      // can be had.
      for (const auto& [helper_pid, id] : helpers_) {
        if (made_by(helper_pid) != pid) continue;
        if (auto it = children_.find(id); it != children_.end() && it->second.pid == 0) {
          child = &it->second;
        }
      }
      if (child != nullptr) {
        began(*child, pid);
      } else {
        std::optional<ProcStat> stat = read_proc_stat(pid);
        start_ticks = stat ? stat->start_ticks : 0;
        child = find_by_pid(pid, start_ticks);
      }
    }
    const pid_t made = helper ? made_by(pid) : 0;
    rusage usage{};
    wait_for(P_PID, pid, info, 0, &usage);
    ++stats_.reaped;
    if (helper) {
      helper_ended(pid, made, status);
      continue;
    }
    if (child == nullptr && events_.on_other(pid, status)) continue;
    wire::Exited exit = exit_now(pid);
    set_status(exit, status);
    exit.user_us = microseconds(usage.ru_utime);
    exit.system_us = microseconds(usage.ru_stime);
    exit.rss_bytes_max = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
    if (child != nullptr) {
      ended(*child, exit);
      continue;
    }
    std::erase_if(strangers_, [pid](const Stranger& older) { return older.pid == pid; });
    strangers_.push_back({pid, start_ticks, exit});
    if (strangers_.size() > kStrangersMax) {
      strangers_.pop_front();
      ++stats_.unclaimed_exits_lost;
    }
  }
}

// A helper is gone. What it has MADE decides, not its status: killed afterwards, it has still made
// our child.
void Children::helper_ended(pid_t pid, pid_t made, int status) {
  const std::uint64_t id = helpers_.at(pid);
  helpers_.erase(pid);
  auto it = children_.find(id);
  if (it == children_.end() || it->second.pid != 0) return;  // began already, maybe ended too
  if (made > 0 && is_free(made)) return began(it->second, made);
  not_made(id, 0, status);
}

// Whether PID is a child of ours that is nobody's yet. What a helper says of it may be a lie, where
// the container it enters can trace it.
bool Children::is_free(pid_t pid) const {
  return is_our_child(pid) && !by_pid_.contains(pid) && !helpers_.contains(pid) &&
         !events_.is_other(pid);
}

void Children::began(ChildProcess& child, pid_t pid) {
  child.pid = pid;
  by_pid_[pid] = child.id;
  if (child.durable) {  // an ephemeral one is never looked for by another keeper or agent
    if (std::optional<ProcStat> stat = read_proc_stat(pid)) child.start_ticks = stat->start_ticks;
  }
  UniqueFd pidfd(open_pidfd(pid));
  if (child.doomed) {
    child.kill_cgroup.clear();  // by now it may be the next agent's again
    end_one(child);
  } else {
    events_.on_started(child, pidfd.get());
  }
}

void Children::ended(ChildProcess& child, const wire::Exited& exit) {
  // One that is told of late may have lost its number to another.
  if (auto it = by_pid_.find(child.pid); it != by_pid_.end() && it->second == child.id)
    by_pid_.erase(it);
  child.ended = true;
  child.pidfd.reset();
  child.exit = exit;
  child.exit.durable = child.durable ? 1 : 0;
  child.exit.key_bytes = static_cast<std::uint32_t>(child.key.size());
  std::uint64_t id = child.id;
  if (!child.doomed) events_.on_exited(child);
  if (!child.durable) children_.erase(id);
}

ChildProcess* Children::find_by_pid(pid_t pid, std::uint64_t start_ticks) {
  if (auto it = by_pid_.find(pid); it != by_pid_.end()) return &children_.at(it->second);
  for (auto& [id, child] : children_) {
    if (child.pidfd && child.pid == pid && child.start_ticks == start_ticks) return &child;
  }
  return nullptr;
}

void Children::end_one(ChildProcess& child) {
  if (!child.kill_cgroup.empty()) {
    UniqueFd file(::open((child.kill_cgroup + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
    if (file) [[maybe_unused]]
      ssize_t n = write(file.get(), "1", 1);
  }
  // Our own children cannot be reaped, so their pids reused, but by us.
  if (child.pidfd) {
    syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGKILL, nullptr, 0);
  } else if (child.pid != 0) {
    kill(child.pid, SIGKILL);
  }
}

void Children::kill_ephemeral() {
  for (auto& [id, child] : children_) {
    if (child.durable || child.ended) continue;
    child.doomed = true;
    end_one(child);
  }
  for (const auto& [pid, id] : helpers_) {
    auto it = children_.find(id);
    if (it != children_.end() && it->second.doomed && it->second.pid == 0) kill(pid, SIGKILL);
  }
}

void Children::foreign_ready(std::uint64_t id, std::uint64_t now_ms) {
  reap();
  auto it = children_.find(id);
  if (it == children_.end() || it->second.ended || !it->second.pidfd) return;
  it->second.recheck_until_ms = now_ms + kRecheckMs;
  settle_foreign(it->second, now_ms);
}

// Looks for the status of a process that ended and is not our child.
bool Children::settle_foreign(ChildProcess& child, std::uint64_t now_ms) {
  wire::Exited exit = exit_now(child.pid);
  std::optional<int> status = exit_status_of_reaped(child.pidfd.get());
  std::optional<ProcStat> stat = read_proc_stat(child.pid);
  bool zombie = stat && stat->state == 'Z' && stat->start_ticks == child.start_ticks;
  if (!status && zombie && (stat->exit_status != 0 || may_read_exit_status())) {
    status = stat->exit_status;
  }
  if (!status && zombie && now_ms < child.recheck_until_ms) return false;
  if (!status) status = exit_status_of_reaped(child.pidfd.get());  // reaped since the first look
  if (status) set_status(exit, *status);
  ended(child, exit);
  return true;
}

bool Children::recheck_foreign(std::uint64_t now_ms) {
  std::vector<std::uint64_t> due;
  for (const auto& [id, child] : children_) {
    if (child.pidfd && !child.ended && child.recheck_until_ms != 0) due.push_back(id);
  }
  bool left = false;
  for (std::uint64_t id : due) left = !settle_foreign(children_.at(id), now_ms) || left;
  return left;
}

UniqueFd Children::open_pidfd_of(const ChildProcess& child) {
  return UniqueFd(open_pidfd(child.pid));
}

std::size_t Children::alive() const {
  std::size_t count = 0;
  for (const auto& [id, child] : children_) count += child.ended ? 0 : 1;
  return count;
}

void Children::restore(ChildProcess child) {
  if (child.pid != 0 && !child.ended && !child.pidfd) by_pid_[child.pid] = child.id;
  ChildProcess& known = children_.emplace(child.id, std::move(child)).first->second;
  if (known.pidfd) events_.on_foreign(known);
}

}  // namespace keepwell
