#include "runtime/keeper_client.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>

#include "config/check.h"
#include "runtime/keeper_questions.h"
#include "runtime/loop.h"

namespace keepwell {
namespace {

constexpr int kLastWordsMs = 10'000;

std::uint32_t size_of(std::string_view text) { return static_cast<std::uint32_t>(text.size()); }

}  // namespace

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
    if (poll(&ready, 1, kLastWordsMs) != 1 || !outbox_.flush(control_.get())) return;
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
  send(encode(wire::Type::spawn, id,
              wire::Spawn{order.durable ? 1U : 0U, size_of(order.kill_cgroup), size_of(order.key),
                          0, order.zygote},
              {order.kill_cgroup, order.key}),
       order.fds);
  return id;
}

SpawnId KeeperClient::start_zygote(std::vector<int> fds, int control,
                                   std::function<void()> on_serves,
                                   std::function<void(Error)> on_ended) {
  SpawnId id = next_id();
  questions_->zygotes[id] = {std::move(on_serves), std::move(on_ended)};
  fds.push_back(control);
  send(encode(wire::Type::zygote, id, wire::Nothing{}), fds);
  return id;
}

void KeeperClient::end_zygote(SpawnId id) {
  if (questions_->zygotes.erase(id) > 0) send(encode(wire::Type::zygote_end, id, wire::Nothing{}));
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

}  // namespace keepwell
