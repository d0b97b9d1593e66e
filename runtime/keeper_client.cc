#include "runtime/keeper_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <unordered_map>

#include "config/check.h"
#include "runtime/loop.h"

namespace keepwell {
namespace {

constexpr int kHelloMs = 10'000;
constexpr int kMessagesPerTurn = 64;

std::uint32_t size_of(std::string_view text) { return static_cast<std::uint32_t>(text.size()); }

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

struct KeeperClient::Questions {
  std::unordered_map<SpawnId, SpawnHandlers> spawns;  // until exited or failed
  std::unordered_map<SpawnId, ExitRecord> unwatched;  // exits of inherited children
  std::unordered_map<SpawnId, std::function<void(Status)>> answers;
  std::unordered_map<SpawnId, std::function<void(Result<UniqueFd>)>> fetches;
  std::unordered_map<SpawnId, std::function<void(Result<KeeperStats>)>> stats;
  std::vector<std::function<void()>> later;  // callbacks that wait for the loop's next turn
};

Result<std::unique_ptr<KeeperClient>> KeeperClient::open(Loop& loop, UniqueFd control,
                                                         Handlers handlers) {
  std::unique_ptr<KeeperClient> client(
      new KeeperClient(loop, std::move(control), std::move(handlers)));
  if (Status ok = client->receive_hello(); !ok) return fail(ok.error());
  if (Status ok = client->start(); !ok) return fail(ok.error());
  return client;
}

KeeperClient::KeeperClient(Loop& loop, UniqueFd control, Handlers handlers)
    : control_(std::move(control)),
      handlers_(std::move(handlers)),
      watch_(loop),
      later_(loop),
      questions_(std::make_unique<Questions>()),
      alive_(std::make_shared<bool>(true)) {}

KeeperClient::~KeeperClient() = default;

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

Status KeeperClient::start() {
  // An inherited child may have ended before hello was read: the exit then came as a message of its
  // own.
  for (const ExitRecord& exit : inherited_.exits) {
    std::erase_if(inherited_.children,
                  [&](const InheritedChild& child) { return child.id == exit.id; });
  }
  return watch_.start(control_.get(), {.readable = true}, [this](Ready ready) {
    if (ready.writable) {
      outbox_.flush(control_.get());
      if (outbox_.empty()) watch_.change({.readable = true});
    }
    if (ready.readable || ready.error) receive();
  });
}

SpawnId KeeperClient::next_id() {
  return (std::uint64_t{inherited_.generation} << 32) + ++counter_;
}

void KeeperClient::send(std::string message, std::span<const int> fds) {
  // A keeper that is gone is noticed by reading.
  outbox_.send(control_.get(), std::move(message), fds);
  if (!outbox_.empty()) watch_.change({.readable = true, .writable = true});
}

// For words after which this process exits.
void KeeperClient::send_now(std::string message) {
  outbox_.send(control_.get(), std::move(message));
  while (!outbox_.empty()) {
    pollfd ready{control_.get(), POLLOUT, 0};
    if (poll(&ready, 1, kHelloMs) != 1 || !outbox_.flush(control_.get())) return;
  }
}

SpawnId KeeperClient::spawn(const SpawnOrder& order, SpawnHandlers handlers) {
  SpawnId id = next_id();
  questions_->spawns[id] = std::move(handlers);
  if (order.fds.empty() || order.fds.size() > wire::kFdsMax ||
      order.key.size() > wire::kKeyBytesMax || order.kill_cgroup.size() > wire::kPathBytesMax) {
    questions_->later.push_back([this, id] {
      on_failed(id, {Errc::invalid, "cannot spawn: too many descriptors, or too long a key"});
    });
    run_later();
    return id;
  }
  send(encode(
           wire::Type::spawn, id,
           wire::Spawn{order.durable ? 1U : 0U, size_of(order.kill_cgroup), size_of(order.key), 0},
           {order.kill_cgroup, order.key}),
       order.fds);
  return id;
}

void KeeperClient::run_later() {
  later_.start_after(Duration(0), [this] {
    std::weak_ptr<bool> alive = alive_;
    for (auto& call : std::exchange(questions_->later, {})) {
      call();
      if (alive.expired()) return;
    }
  });
}

SpawnId KeeperClient::claim(const ClaimOrder& order, SpawnHandlers handlers) {
  SpawnId id = next_id();
  questions_->spawns[id] = std::move(handlers);
  send(encode(wire::Type::claim, id,
              wire::Claim{order.pid, order.durable ? 1U : 0U, order.start_ticks,
                          size_of(order.kill_cgroup), size_of(order.key)},
              {order.kill_cgroup, order.key}));
  return id;
}

void KeeperClient::watch(SpawnId id, std::function<void(const ExitRecord&)> on_exited) {
  auto& spawns = questions_->spawns;
  spawns[id] = {{}, {}, std::move(on_exited)};
  auto it = questions_->unwatched.find(id);
  if (it == questions_->unwatched.end()) return;
  questions_->later.push_back([this, record = std::move(it->second)] {
    auto found = questions_->spawns.find(record.id);
    if (found == questions_->spawns.end()) return;
    SpawnHandlers handlers = std::move(found->second);
    questions_->spawns.erase(found);
    if (handlers.on_exited) handlers.on_exited(record);
  });
  questions_->unwatched.erase(it);
  run_later();
}

void KeeperClient::ack(SpawnId id) { send(encode(wire::Type::ack, id, wire::Nothing{})); }

void KeeperClient::keep_fd(std::string_view name, int fd, std::string_view blob, bool for_logger,
                           std::function<void(Status)> on_kept) {
  SpawnId id = next_id();
  if (on_kept) questions_->answers[id] = std::move(on_kept);
  KW_CHECK(name.size() <= wire::kKeyBytesMax && blob.size() <= wire::kBlobBytesMax);
  std::array<int, 1> fds{fd};
  send(encode(wire::Type::keep, id,
              wire::Keep{for_logger ? 1U : 0U, size_of(name), size_of(blob), 0}, {name, blob}),
       fds);
}

void KeeperClient::drop_fd(std::string_view name, std::function<void(Status)> on_dropped) {
  SpawnId id = next_id();
  if (on_dropped) questions_->answers[id] = std::move(on_dropped);
  send(encode(wire::Type::drop, id, wire::Name{size_of(name), 0}, {name}));
}

void KeeperClient::fetch_fd(std::string_view name,
                            std::function<void(Result<UniqueFd>)> on_fetched) {
  SpawnId id = next_id();
  questions_->fetches[id] = std::move(on_fetched);
  send(encode(wire::Type::fetch, id, wire::Name{size_of(name), 0}, {name}));
}

void KeeperClient::ready() { send(encode(wire::Type::ready, 0, wire::Nothing{})); }

void KeeperClient::stopping(int exit_code) {
  send_now(encode(wire::Type::stopping, 0, wire::Stopping{exit_code, 0}));
}

void KeeperClient::respawn() { send_now(encode(wire::Type::respawn, 0, wire::Nothing{})); }

void KeeperClient::upgrade(const UpgradePaths& paths, std::function<void(Status)> on_upgraded) {
  SpawnId id = next_id();
  questions_->answers[id] = std::move(on_upgraded);
  std::string argv;
  for (const std::string& argument : paths.agent_argv) argv.append(argument).push_back('\0');
  send(encode(wire::Type::upgrade, id,
              wire::Upgrade{size_of(paths.keeper), size_of(paths.logger), size_of(paths.enter),
                            size_of(argv)},
              {paths.keeper, paths.logger, paths.enter, argv}));
}

void KeeperClient::stats(std::function<void(Result<KeeperStats>)> on_stats) {
  SpawnId id = next_id();
  questions_->stats[id] = std::move(on_stats);
  send(encode(wire::Type::stats, id, wire::Nothing{}));
}

// ---- what the keeper says

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
