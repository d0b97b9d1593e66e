// What the agent asks of the keeper.
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "runtime/keeper/clock.h"
#include "runtime/keeper/keeper.h"
#include "runtime/keeper/launch.h"
#include "runtime/keeper/say.h"

namespace keepwell {
namespace {

std::uint32_t size_of(const std::string& text) { return static_cast<std::uint32_t>(text.size()); }

std::vector<int> numbers(const std::vector<UniqueFd>& fds) {
  std::vector<int> all;
  for (const UniqueFd& fd : fds) all.push_back(fd.get());
  return all;
}

}  // namespace

void Keeper::send_agent(std::string message, std::span<const int> fds) {
  if (!agent_.control) return;
  if (!agent_.outbox.send(agent_.control.get(), message, fds) && !fds.empty()) {
    // Out of descriptors: better told without them than not at all.
    agent_.outbox.send(agent_.control.get(), std::move(message));
  }
  update_interest(agent_, kAgentTag);
}

void Keeper::answer(wire::Type type, std::uint64_t id, int error_number, std::span<const int> fds) {
  send_agent(encode(type, id, wire::Answer{error_number, 0}), fds);
}

wire::Child Keeper::child_message(const ChildProcess& child) {
  return {child.pid, size_of(child.key), child.start_ticks};
}

void Keeper::send_hello() {
  std::string version = KEEPWELL_VERSION;
  send_agent(encode(wire::Type::hello, 0,
                    wire::Hello{agent_.starts - 1, getpid(), last_wait_status_, size_of(version)},
                    {version}));
  for (const auto& [id, child] : children_.all()) {
    if (!child.durable) continue;
    if (child.ended) {
      send_agent(encode(wire::Type::exited, id, child.exit, {child.key}));
    } else if (child.pid != 0) {
      UniqueFd opened;
      if (!child.pidfd) opened = children_.open_pidfd_of(child);
      std::array<int, 1> fds{child.pidfd ? child.pidfd.get() : opened.get()};
      send_agent(encode(wire::Type::child, id, child_message(child), {child.key}), fds);
    }
  }
  for (const auto& [name, kept] : kept_) {
    if (kept.dropping) continue;
    send_agent(encode(wire::Type::kept, 0,
                      wire::Kept{kept.for_logger ? 1U : 0U, size_of(name), size_of(kept.blob), 0},
                      {name, kept.blob}));
  }
  send_agent(encode(wire::Type::hello_end, 0, wire::Nothing{}));
}

// One message in a turn, so that exits have theirs: else the probes of a burst would be told as
// ended together, fall due together, and be a burst in every interval to come.
void Keeper::read_agent() {
  wire::Datagram message;
  wire::Received received = wire::receive(agent_.control.get(), message);
  if (received == wire::Received::nothing && agent_.pid != 0) return;
  if (received == wire::Received::nothing || received == wire::Received::closed) {
    agent_.lost(now_ms());
  } else if (received == wire::Received::malformed) {
    say("dropped a malformed message of the agent");
  } else {
    on_agent(message);
  }
}

void Keeper::on_agent(wire::Datagram& message) {
  switch (message.type()) {
    case wire::Type::spawn:
      return on_spawn(message);
    case wire::Type::zygote:
      return on_zygote(message);
    case wire::Type::zygote_end:
      return zygotes_.end(message.head.id);
    case wire::Type::claim:
      return on_claim(message);
    case wire::Type::ack:
      return children_.acknowledge(message.head.id);
    case wire::Type::keep:
      return on_keep(message);
    case wire::Type::drop:
      return on_drop(message);
    case wire::Type::fetch:
      return on_fetch(message);
    case wire::Type::ready:
      ready_once_ = true;
      return;
    case wire::Type::stopping:
      stopping_ = true;
      exit_code_ = message.body<wire::Stopping>().exit_code;
      return;
    case wire::Type::upgrade:
      return on_upgrade(message);
    case wire::Type::respawn:
      respawning_ = true;
      return;
    case wire::Type::stats:
      return on_stats(message.head.id);
    default:
      send_agent(encode(wire::Type::refused, message.head.id,
                        wire::Refused{message.head.type, wire::kVersion}));
  }
}

void Keeper::on_spawn(wire::Datagram& message) {
  auto body = message.body<wire::Spawn>();
  wire::Text text(message);
  ChildProcess child;
  child.id = message.head.id;
  child.durable = body.durable != 0;
  child.kill_cgroup = text.take(body.kill_cgroup_bytes);
  child.key = text.take(body.key_bytes);
  if (agent_.pid == 0 && !child.durable) return;  // it would die with its agent
  int error = 0;
  if (!text.ok() || message.fds.empty()) {
    error = EINVAL;
  } else if (!message.fds_complete()) {
    error = EMFILE;
  } else if (body.zygote != 0) {
    error = children_.expect(std::move(child));
    if (error == 0) {
      int not_asked = zygotes_.ask(body.zygote, message.head.id, numbers(message.fds));
      if (not_asked != 0) children_.not_made(message.head.id, not_asked);
    }
  } else {
    error = children_.spawn(std::move(child), program_.get(), numbers(message.fds));
  }
  if (error != 0) send_agent(encode(wire::Type::failed, message.head.id, wire::Failed{error, 0}));
}

void Keeper::on_zygote(wire::Datagram& message) {
  if (agent_.pid == 0) return;  // it would end with its agent
  int error = EINVAL;
  if (!message.fds_complete()) {
    error = EMFILE;
  } else if (message.fds.size() > 1) {
    UniqueFd control = std::move(message.fds.back());
    message.fds.pop_back();
    error =
        zygotes_.start(message.head.id, program_.get(), numbers(message.fds), std::move(control));
  }
  if (error != 0) send_agent(encode(wire::Type::failed, message.head.id, wire::Failed{error, 0}));
}

void Keeper::on_claim(wire::Datagram& message) {
  auto body = message.body<wire::Claim>();
  wire::Text text(message);
  ChildProcess child;
  child.id = message.head.id;
  child.claimed = true;
  child.pid = body.pid;
  child.start_ticks = body.start_ticks;
  child.durable = body.durable != 0;
  child.kill_cgroup = text.take(body.kill_cgroup_bytes);
  child.key = text.take(body.key_bytes);
  int error = !text.ok() || body.pid <= 1 ? EINVAL : children_.claim(std::move(child));
  if (error != 0) {
    send_agent(encode(wire::Type::claimed, message.head.id,
                      wire::Claimed{error, body.pid, body.start_ticks}));
  }
}

void Keeper::on_keep(wire::Datagram& message) {
  auto body = message.body<wire::Keep>();
  wire::Text text(message);
  std::string name = text.take(body.name_bytes);
  std::string blob = text.take(body.blob_bytes);
  if (!text.ok() || message.head.fd_count != 1) {
    return answer(wire::Type::kept_ok, message.head.id, EINVAL);
  }
  if (!message.fds_complete()) return answer(wire::Type::kept_ok, message.head.id, EMFILE);
  auto it = kept_.find(name);
  if (it != kept_.end() && it->second.for_logger) {
    // The stream before it goes on being drained under a name that nobody asks for.
    KeptFd old = std::move(it->second);
    kept_.erase(it);
    drain("\n" + std::to_string(old.stream), std::move(old), 0);
  }
  KeptFd& kept = kept_[name];
  kept = {};
  kept.fd = move_out_of_the_way(std::move(message.fds.front()));
  kept.blob = std::move(blob);
  kept.for_logger = body.for_logger != 0;
  kept.stream = next_stream_++;
  if (kept.for_logger) send_stream(name, kept);
  answer(wire::Type::kept_ok, message.head.id, 0);
}

void Keeper::on_drop(wire::Datagram& message) {
  wire::Text text(message);
  std::string name = text.take(message.body<wire::Name>().name_bytes);
  auto it = kept_.find(name);
  if (!text.ok() || it == kept_.end()) {
    return answer(wire::Type::dropped, message.head.id, ENOENT);
  }
  KeptFd kept = std::move(it->second);
  kept_.erase(it);
  if (!kept.for_logger) return answer(wire::Type::dropped, message.head.id, 0);
  std::string hidden = "\n" + std::to_string(kept.stream);
  drain(std::move(hidden), std::move(kept), message.head.id);
}

// Has the logger empty a stream; it stays ours until then, for a logger after this one.
void Keeper::drain(std::string name, KeptFd kept, std::uint64_t question) {
  kept.dropping = true;
  kept.drop_id = question;
  send_logger(encode(wire::Type::drain, kept.stream, wire::Nothing{}));
  kept_[std::move(name)] = std::move(kept);
}

void Keeper::on_fetch(wire::Datagram& message) {
  wire::Text text(message);
  std::string name = text.take(message.body<wire::Name>().name_bytes);
  auto it = kept_.find(name);
  if (!text.ok() || it == kept_.end()) {
    return answer(wire::Type::fetched, message.head.id, ENOENT);
  }
  std::array<int, 1> fds{it->second.fd.get()};
  answer(wire::Type::fetched, message.head.id, 0, fds);
}

void Keeper::on_stats(std::uint64_t id) {
  wire::Stats stats = children_.stats();
  stats.children = children_.alive();
  stats.kept_fds = kept_.size();
  send_agent(encode(wire::Type::stats_are, id, stats));
}

}  // namespace keepwell
