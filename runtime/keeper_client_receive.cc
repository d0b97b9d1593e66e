// The part of KeeperClient that hears what the keeper says.
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/keeper_questions.h"
#include "runtime/loop.h"

namespace keepwell {
namespace {

constexpr int kHelloMs = 10'000;
constexpr int kMessagesPerTurn = 64;

ExitRecord exit_record(const wire::Datagram& message) {
  auto body = message.body<wire::Exited>();
  wire::Text text(message);
  ExitRecord record;
  record.id = message.head.id;
  record.key = text.take(body.key_bytes);
  record.pid = body.pid;
  record.known = body.known != 0;
  record.code = body.code;
  record.signal = body.signal;
  record.core_dumped = body.core != 0;
  record.user_cpu = std::chrono::microseconds(body.user_us);
  record.system_cpu = std::chrono::microseconds(body.system_us);
  record.rss_bytes_max = body.rss_bytes_max;
  record.at = {Instant(Duration(body.mono_ns)), WallTime(Duration(body.wall_ns))};
  return record;
}

InheritedChild inherited_child(wire::Datagram& message) {
  auto body = message.body<wire::Child>();
  wire::Text text(message);
  InheritedChild child{message.head.id, text.take(body.key_bytes), body.pid, body.start_ticks, {}};
  if (!message.fds.empty()) child.pidfd = std::move(message.fds.front());
  return child;
}

Error answer_error(int error_number, std::string_view context) {
  if (error_number == ENOENT || error_number == ESRCH) {
    return {Errc::not_found, std::string(context) + ": the keeper does not know it"};
  }
  return Error::os(error_number, context);
}

}  // namespace

Status KeeperClient::receive_hello() {
  constexpr std::string_view kContext = "cannot talk to the keeper";
  if (fcntl(control_.get(), F_SETFD, FD_CLOEXEC) != 0) return fail_errno(kContext);
  bool greeted = false;
  Instant deadline = Loop::now().mono + std::chrono::milliseconds(kHelloMs);
  for (;;) {
    wire::Datagram message;
    switch (wire::receive(control_.get(), message)) {
      case wire::Received::nothing: {
        auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Loop::now().mono);
        pollfd ready{control_.get(), POLLIN, 0};
        if (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) == 0) {
          return fail(Errc::timed_out, std::string(kContext) + ": it says nothing");
        }
        continue;
      }
      case wire::Received::closed:
        return fail(Errc::unavailable, std::string(kContext) + ": it has hung up");
      case wire::Received::malformed:
        return fail(Errc::invalid,
                    std::string(kContext) + ": descriptor 3 leads to something else");
      case wire::Received::message:
        break;
    }
    if (message.type() == wire::Type::hello) {
      auto body = message.body<wire::Hello>();
      inherited_.generation = body.generation;
      inherited_.keeper_pid = body.keeper_pid;
      inherited_.last_wait_status = body.last_wait_status;
      inherited_.keeper_version = wire::Text(message).take(body.version_bytes);
      inherited_.protocol_version = message.head.version;
      greeted = true;
    } else if (message.type() == wire::Type::child) {
      inherited_.children.push_back(inherited_child(message));
    } else if (message.type() == wire::Type::exited) {
      inherited_.exits.push_back(exit_record(message));
    } else if (message.type() == wire::Type::kept) {
      auto body = message.body<wire::Kept>();
      wire::Text text(message);
      std::string name = text.take(body.name_bytes);
      inherited_.kept.push_back({name, text.take(body.blob_bytes), body.for_logger != 0});
    } else if (message.type() == wire::Type::hello_end && greeted) {
      return {};
    }
  }
}

void KeeperClient::receive() {
  std::weak_ptr<bool> alive = alive_;
  for (int i = 0; i < kMessagesPerTurn; ++i) {
    wire::Datagram message;
    switch (wire::receive(control_.get(), message)) {
      case wire::Received::nothing:
        return;
      case wire::Received::closed:
        return lost({Errc::unavailable, "cannot go on: the keeper is gone"});
      case wire::Received::malformed:
        continue;
      case wire::Received::message:
        break;
    }
    dispatch(message);
    if (alive.expired()) return;
  }
}

void KeeperClient::dispatch(wire::Datagram& message) {
  SpawnId id = message.head.id;
  switch (message.type()) {
    case wire::Type::started:
      return on_started(id, message.body<wire::Started>().pid, message);
    case wire::Type::claimed: {
      auto body = message.body<wire::Claimed>();
      if (body.error_number == 0) return on_started(id, body.pid, message);
      return on_failed(
          id, answer_error(body.error_number, "cannot claim process " + std::to_string(body.pid)));
    }
    case wire::Type::failed: {
      auto body = message.body<wire::Failed>();
      if (body.error_number != 0)
        return on_failed(id, Error::os(body.error_number, "cannot spawn"));
      int status = body.enter_status;
      return on_failed(id, {Errc::os, WIFSIGNALED(status)
                                          ? "cannot spawn: keepwell-enter was killed by signal " +
                                                std::to_string(WTERMSIG(status))
                                          : "cannot spawn: keepwell-enter failed with code " +
                                                std::to_string(WEXITSTATUS(status))});
    }
    case wire::Type::exited:
      return on_exited(message);
    case wire::Type::child:
      return on_child(message);
    case wire::Type::signal: {
      auto on_signal = handlers_.on_signal;
      if (on_signal) on_signal(message.body<wire::Signal>().number);
      return;
    }
    case wire::Type::kept_ok:
    case wire::Type::dropped:
    case wire::Type::upgraded:
    case wire::Type::fetched:
    case wire::Type::stats_are:
    case wire::Type::refused:
      return on_answer(message);
    default:  // from a newer keeper: nothing that we have asked for
      return;
  }
}

void KeeperClient::on_started(SpawnId id, pid_t pid, wire::Datagram& message) {
  if (auto zygote = questions_->zygotes.find(id); zygote != questions_->zygotes.end()) {
    return std::exchange(zygote->second.on_serves, nullptr)();
  }
  auto it = questions_->spawns.find(id);
  if (it == questions_->spawns.end()) return;
  UniqueFd pidfd;
  if (!message.fds.empty()) {
    pidfd = std::move(message.fds.front());
  } else if (message.head.fd_count > 0 || message.type() == wire::Type::started) {
    // One of us was out of descriptors; if it has ended by now, its exit is on its way.
    pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  }
  auto on_started = std::move(it->second.on_started);
  it->second.on_failed = nullptr;
  if (on_started) on_started(pid, std::move(pidfd));
}

void KeeperClient::on_failed(SpawnId id, Error error) {
  if (auto zygote = questions_->zygotes.find(id); zygote != questions_->zygotes.end()) {
    auto on_ended = std::move(zygote->second.on_ended);
    questions_->zygotes.erase(zygote);
    return on_ended(std::move(error));
  }
  auto it = questions_->spawns.find(id);
  if (it == questions_->spawns.end()) return;
  SpawnHandlers handlers = std::move(it->second);
  questions_->spawns.erase(it);
  if (handlers.on_failed) handlers.on_failed(std::move(error));
}

void KeeperClient::on_exited(wire::Datagram& message) {
  ExitRecord record = exit_record(message);
  auto it = questions_->spawns.find(record.id);
  if (it == questions_->spawns.end()) {
    questions_->unwatched[record.id] = std::move(record);
    return;
  }
  SpawnHandlers handlers = std::move(it->second);
  questions_->spawns.erase(it);
  if (handlers.on_exited) handlers.on_exited(record);
}

void KeeperClient::on_child(wire::Datagram& message) {
  auto on_late_child = handlers_.on_late_child;
  if (on_late_child) on_late_child(inherited_child(message));
}

void KeeperClient::on_answer(wire::Datagram& message) {
  SpawnId id = message.head.id;
  bool refused = message.type() == wire::Type::refused;
  Error error{Errc::unsupported, "cannot ask that of this keeper: it is of an older version"};
  int number = refused ? 0 : message.body<wire::Answer>().error_number;
  if (auto it = questions_->answers.find(id); it != questions_->answers.end()) {
    auto on_answered = std::move(it->second);
    questions_->answers.erase(it);
    if (refused) return on_answered(fail(error));
    if (number != 0)
      return on_answered(fail(answer_error(number, "cannot do what was asked of the keeper")));
    return on_answered({});
  }
  if (auto it = questions_->fetches.find(id); it != questions_->fetches.end()) {
    auto on_fetched = std::move(it->second);
    questions_->fetches.erase(it);
    if (refused) return on_fetched(fail(error));
    if (number == 0 && message.fds.empty()) number = EMFILE;
    if (number != 0) return on_fetched(fail(answer_error(number, "cannot fetch a descriptor")));
    return on_fetched(std::move(message.fds.front()));
  }
  if (auto it = questions_->stats.find(id); it != questions_->stats.end()) {
    auto on_stats = std::move(it->second);
    questions_->stats.erase(it);
    if (refused) return on_stats(fail(error));
    auto body = message.body<wire::Stats>();
    on_stats(KeeperStats{body.spawns, body.spawn_failures, body.reaped, body.unclaimed_exits_lost,
                         body.agent_starts, body.logger_starts, body.children, body.kept_fds,
                         Duration(body.loop_lag_ns_max)});
    return;
  }
  // A keeper that knows no `spawn` does not exist, but one that refuses must not leave it hanging.
  if (refused) on_failed(id, error);
}

void KeeperClient::lost(Error error) {
  watch_.stop();
  auto on_lost = handlers_.on_lost;
  if (on_lost) on_lost(std::move(error));
}

}  // namespace keepwell
