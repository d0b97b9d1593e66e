#include "runtime/keeper/keeper.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "runtime/keeper/clock.h"
#include "runtime/keeper/launch.h"
#include "runtime/keeper/say.h"
#include "runtime/keeper/state.h"

namespace keepwell {
namespace {

constexpr std::uint64_t kFinishMs = 10'000;  // for the logger to empty the pipes at the end
constexpr std::uint64_t kRecheckMs = 20;
constexpr int kMessagesPerTurn = 64;
constexpr std::uint64_t kDeafDelays = 8;  // so often doubled: no agent lives to hear of a stop

int exit_code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

Keeper::Keeper(KeeperOptions options) : options_(std::move(options)) {
  agent_.argv = options_.agent_argv;
  logger_.argv = {options_.logger_path};
  logger_.outlives_keeper = true;  // it holds the log pipes until somebody else does (logger.h)
}

int Keeper::run(UniqueFd state) {
  bool resumed = static_cast<bool>(state);
  raise_descriptor_limit();
  if (int error = open(); error != 0) return error;
  set_events();
  if (resumed) {
    if (!KeeperState::load(*this, state.get())) {
      say("cannot read the state of the keeper before this one; containers go on without a keeper");
      return 1;
    }
    state.reset();
    resume();
  } else {
    start_fresh();
  }
  while (!done_) turn();
  return exit_code_;
}

void Keeper::set_events() {
  children_.set_events(
      {.on_started =
           [this](const ChildProcess& child, int pidfd) {
             std::array<int, 1> fds{pidfd};
             std::span<const int> sent = pidfd < 0 ? std::span<const int>() : fds;
             bool of_another_agent = child.id >> 32 != agent_.starts - 1;
             send_agent(of_another_agent
                            ? encode(wire::Type::child, child.id, child_message(child), {child.key})
                        : child.claimed ? encode(wire::Type::claimed, child.id,
                                                 wire::Claimed{0, child.pid, child.start_ticks})
                                        : encode(wire::Type::started, child.id,
                                                 wire::Started{child.pid, 0, child.start_ticks}),
                        sent);
           },
       .on_failed =
           [this](std::uint64_t id, int error, int status) {
             send_agent(encode(wire::Type::failed, id, wire::Failed{error, status}));
           },
       .on_exited =
           [this](const ChildProcess& child) {
             send_agent(encode(wire::Type::exited, child.id, child.exit, {child.key}));
           },
       .is_other =
           [this](pid_t pid) {
             return pid == agent_.pid || pid == logger_.pid || zygotes_.has(pid);
           },
       .before_stranger = [this] { zygotes_.read_all(); },
       .on_other = [this](pid_t pid, int status) { return on_other(pid, status); },
       .on_foreign =
           [this](const ChildProcess& child) {
             watch(child.pidfd.get(), kForeignTag | child.id);
           }});
  zygotes_.set_events(
      {.on_serves =
           [this](std::uint64_t id, const Zygotes::Zygote& zygote) {
             send_agent(encode(wire::Type::started, id, wire::Started{zygote.pid, 0, 0}));
           },
       .on_ended =
           [this](std::uint64_t id, int status) {
             send_agent(encode(wire::Type::failed, id, wire::Failed{0, status}));
           },
       .on_made = [this](std::uint64_t spawn, pid_t pid) { children_.made(spawn, pid); },
       .on_not_made = [this](std::uint64_t spawn,
                             int error_number) { children_.not_made(spawn, error_number); },
       .watch = [this](int fd, std::uint64_t id) { watch(fd, kZygoteTag | id); }});
}

int Keeper::open() {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_NAME, "keepwell-keeper");
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  sigset_t wanted;
  sigemptyset(&wanted);
  for (int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&wanted, number);
  signals_.reset(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!epoll_ || !signals_) {
    say("cannot start: %s", std::strerror(errno));
    return 1;
  }
  watch(signals_.get(), kSignalsTag);
  return 0;
}

void Keeper::start_fresh() {
  program_ = load_program(options_.enter_path);
  if (!program_) {
    say("cannot start with %s: %s", options_.enter_path.c_str(), std::strerror(errno));
    exit_code_ = 1;
    done_ = true;
    return;
  }
  start_logger();
  start_agent();
}

void Keeper::watch(int fd, std::uint64_t tag) {
  epoll_event event{EPOLLIN, {.u64 = tag}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

void Keeper::update_interest(Attendant& of, std::uint64_t tag) {
  bool write = !of.outbox.empty();
  if (write == std::exchange(of.watched_for_write, write)) return;
  epoll_event event{write ? EPOLLIN | EPOLLOUT : EPOLLIN, {.u64 = tag}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, of.control.get(), &event);
}

void Keeper::turn() {
  std::array<epoll_event, 32> events;
  int count = epoll_wait(epoll_.get(), events.data(), events.size(), next_timeout_ms(now_ms()));
  std::uint64_t began = monotonic_ns();
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.u64 == kSignalsTag) {
      read_signals();
    } else if (event.data.u64 == kAgentTag && agent_.control) {
      if ((event.events & EPOLLOUT) != 0) agent_.outbox.flush(agent_.control.get());
      if ((event.events & ~std::uint32_t{EPOLLOUT}) != 0) read_agent();
      if (agent_.control) update_interest(agent_, kAgentTag);
    } else if (event.data.u64 == kLoggerTag && logger_.control) {
      if ((event.events & EPOLLOUT) != 0) logger_.outbox.flush(logger_.control.get());
      if ((event.events & ~std::uint32_t{EPOLLOUT}) != 0) read_logger();
      if (logger_.control) update_interest(logger_, kLoggerTag);
    } else if ((event.data.u64 & kZygoteTag) != 0) {
      zygotes_.readable(event.data.u64 & ~kZygoteTag);
    } else if ((event.data.u64 & kForeignTag) != 0) {
      std::uint64_t id = event.data.u64 & ~kForeignTag;
      auto it = children_.all().find(id);  // it ended: a ready pidfd stays ready, so no more epoll
      if (it == children_.all().end() || !it->second.pidfd) continue;
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second.pidfd.get(), nullptr);
      children_.foreign_ready(id, now_ms());
      recheck_ = true;
    }
  }
  timers(now_ms());
  if (upgrade_) try_upgrade();
  std::uint64_t& lag = children_.stats().loop_lag_ns_max;
  lag = std::max(lag, monotonic_ns() - began);
}

int Keeper::next_timeout_ms(std::uint64_t now) const {
  std::uint64_t next = UINT64_MAX;
  if (agent_.respawn_ms != 0 && !ending_) next = std::min(next, agent_.respawn_ms);
  for (std::uint64_t kill_ms : {agent_.kill_ms, logger_.kill_ms}) {
    if (kill_ms != 0) next = std::min(next, kill_ms);
  }
  if (logger_.respawn_ms != 0) next = std::min(next, logger_.respawn_ms);
  if (ending_) next = std::min(next, end_deadline_ms_);
  if (recheck_) next = std::min(next, now + kRecheckMs);
  if (next == UINT64_MAX) return -1;
  return next <= now ? 0 : static_cast<int>(next - now);
}

void Keeper::timers(std::uint64_t now) {
  if (recheck_) recheck_ = children_.recheck_foreign(now);
  if (ending_) {
    if (now >= end_deadline_ms_) {
      say("the logger could not finish in time; what is left stays in the pipes");
      done_ = true;
    }
    return;
  }
  agent_.kill_if_due(now);
  logger_.kill_if_due(now);
  if (logger_.pid == 0 && logger_.respawn_ms != 0 && now >= logger_.respawn_ms) start_logger();
  if (agent_.pid == 0 && agent_.respawn_ms != 0 && now >= agent_.respawn_ms) start_agent();
}

void Keeper::read_signals() {
  signalfd_siginfo info{};
  bool reap = false;
  pid_t exited = 0;
  while (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    auto number = static_cast<int>(info.ssi_signo);
    if (number == SIGCHLD) {
      reap = true;
      exited = static_cast<pid_t>(info.ssi_pid);
    } else {
      if (agent_.control) send_agent(encode(wire::Type::signal, 0, wire::Signal{number, 0}));
      // A stop is kept until an agent obeys: this one may die first.
      if (!agent_.control || number != SIGHUP) pending_signals_.push_back(number);
    }
  }
  if (reap) children_.reap(exited);
}

// ---- agent and logger come and go

bool Keeper::on_other(pid_t pid, int status) {
  if (pid == agent_.pid) {
    agent_died(status);
  } else if (pid == logger_.pid) {
    logger_died();
  } else {
    return zygotes_.died(pid, status);
  }
  return true;
}

void Keeper::start_agent() {
  bool told_to_stop = std::ranges::any_of(pending_signals_, [](int n) { return n != SIGHUP; });
  if (told_to_stop && agent_.delay_ms > Attendant::kDelayMinMs * kDeafDelays) {
    say("told to stop, but no agent lives long enough to hear it; containers go on");
    begin_end(1);
    return;
  }
  std::array<int, 1> listen{options_.listen.get()};
  std::span<const int> extra =
      options_.listen ? std::span<const int>(listen) : std::span<const int>();
  if (int error = agent_.start(now_ms(), extra); error != 0) {
    say("cannot start the agent %s: %s", agent_.argv.front().c_str(), std::strerror(error));
    if (!ready_once_) begin_end(1);
    return;
  }
  ++children_.stats().agent_starts;
  watch(agent_.control.get(), kAgentTag);
  send_hello();
  for (int number : pending_signals_) {
    send_agent(encode(wire::Type::signal, 0, wire::Signal{number, 0}));
  }
  std::erase(pending_signals_, SIGHUP);
}

void Keeper::agent_died(int status) {
  // What it said before it died counts, but for the ephemeral processes, which die with it.
  last_wait_status_ = status;
  agent_.pid = 0;
  while (agent_.control) read_agent();
  children_.kill_ephemeral();
  zygotes_.end_all();
  agent_.died(now_ms(), respawning_);
  if (stopping_ || !ready_once_) {
    begin_end(stopping_ ? exit_code_ : exit_code_of(status));
    return;
  }
  if (!respawning_) {
    say(WIFSIGNALED(status) ? "the agent was killed by signal %d; starting it again"
                            : "the agent ended with %d; starting it again",
        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  }
  respawning_ = false;
}

void Keeper::start_logger() {
  if (int error = logger_.start(now_ms(), {}); error != 0) {
    say("cannot start the logger %s: %s", logger_.argv.front().c_str(), std::strerror(error));
    return;
  }
  ++children_.stats().logger_starts;
  watch(logger_.control.get(), kLoggerTag);
  for (const auto& [name, kept] : kept_) {
    if (kept.for_logger) send_stream(name, kept);
  }
  if (ending_) send_logger(encode(wire::Type::finish, 0, wire::Nothing{}));
}

void Keeper::logger_died() {
  logger_.pid = 0;
  while (logger_.control) read_logger();
  logger_.died(now_ms(), logger_respawning_);
  logger_respawning_ = false;
  if (ending_) done_ = true;
}

// Nothing is left to do but to let the logger empty the pipes.
void Keeper::begin_end(int code) {
  if (ending_) return;
  exit_code_ = code;
  ending_ = true;
  end_deadline_ms_ = now_ms() + kFinishMs;
  bool streams =
      std::ranges::any_of(kept_, [](const auto& entry) { return entry.second.for_logger; });
  if (logger_.pid != 0) {
    send_logger(encode(wire::Type::finish, 0, wire::Nothing{}));
  } else if (streams) {
    start_logger();
  }
  if (logger_.pid == 0) done_ = true;
}

// ---- what the logger says

void Keeper::send_logger(std::string message, std::span<const int> fds) {
  if (!logger_.control) return;
  logger_.outbox.send(logger_.control.get(), std::move(message), fds);
  update_interest(logger_, kLoggerTag);
}

void Keeper::send_stream(const std::string& name, const KeptFd& kept) {
  std::array<int, 1> fds{kept.fd.get()};
  send_logger(encode(wire::Type::stream, kept.stream,
                     wire::LogStream{static_cast<std::uint32_t>(name.size()),
                                     static_cast<std::uint32_t>(kept.blob.size())},
                     {name, kept.blob}),
              fds);
  if (kept.dropping) send_logger(encode(wire::Type::drain, kept.stream, wire::Nothing{}));
}

void Keeper::read_logger() {
  wire::Datagram message;
  for (int i = 0; i < kMessagesPerTurn; ++i) {
    wire::Received received = wire::receive(logger_.control.get(), message);
    if (received == wire::Received::nothing && logger_.pid != 0) return;
    if (received == wire::Received::nothing || received == wire::Received::closed) {
      logger_.lost(now_ms());
      return;
    }
    if (received != wire::Received::message || message.type() != wire::Type::drained) continue;
    auto it = std::ranges::find_if(
        kept_, [&](const auto& entry) { return entry.second.stream == message.head.id; });
    if (it == kept_.end() || !it->second.dropping) continue;
    std::uint64_t question = it->second.drop_id;
    kept_.erase(it);
    answer(wire::Type::dropped, question, 0);
  }
}

}  // namespace keepwell
