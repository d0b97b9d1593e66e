#include "runtime/network/port_forwards.h"

#include <sys/socket.h>
#include <unistd.h>

#include <optional>

#include "runtime/launch.h"
#include "runtime/network/port_relay.h"
#include "runtime/state_file.h"

namespace keepwell {
namespace {

// Where the bridges lead to the container; none: it is on internal networks alone.
std::optional<IpAddress> address_of(const NetworkRecord& record) {
  for (const Endpoint& e : record.endpoints) {
    if (e.internal || e.subnets.empty()) continue;
    for (const EndpointSubnet& s : e.subnets) {
      if (!s.address.v6) return s.address;
    }
    return e.subnets.front().address;
  }
  return std::nullopt;
}

}  // namespace

struct PortForwards::Start {
  explicit Start(Loop& loop) : answered(loop) {}
  UniqueFd socket;
  FdWatch answered;
  std::function<void(Status)> on_done;
};

PortForwards::PortForwards(Loop& loop, std::string dir, Run run,
                           std::function<void(const std::string&)> on_death)
    : loop_(&loop), dir_(std::move(dir)), run_(std::move(run)), on_death_(std::move(on_death)) {}

PortForwards::~PortForwards() = default;

void PortForwards::start(const NetworkRecord& record, const std::vector<int>& sockets,
                         std::function<void(Status)> on_done) {
  const std::string id = record.id;
  const std::optional<IpAddress> address = address_of(record);
  if (!address || sockets.size() != record.ports.size()) {
    return on_done(fail(Errc::conflict, "another program of this host has one of them now"));
  }
  std::vector<RelayTarget> targets;
  for (const PublishedPort& port : record.ports)
    targets.push_back({port.protocol == "udp", *address, port.container_port});
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return on_done(fail_errno("cannot make a pair of sockets"));
  auto start = std::make_unique<Start>(*loop_);
  start->socket.reset(ends[0]);
  auto theirs = std::make_shared<UniqueFd>(ends[1]);
  start->on_done = std::move(on_done);
  if (Status sent = send_relay_targets(ends[0], targets, sockets); !sent)
    return start->on_done(sent);
  starts_[id] = std::move(start);
  auto over = [this, id](Status status) {
    std::unique_ptr<Start> done = std::move(starts_.at(id));
    starts_.erase(id);
    done->answered.stop();
    done->on_done(std::move(status));
  };
  run_(
      {own_program_path(), "forward-ports", pid_file(id)},
      [this, id, theirs, over](const HostCommandResult& result) {
        theirs->reset();
        if (!result.ok()) return over(fail(Errc::os, result.output));
        Start& waiting = *starts_.at(id);
        Status watched = waiting.answered.start(
            waiting.socket.get(), {.readable = true}, [this, id, over](Ready) {
              char byte = 0;
              const bool said = ::recv(starts_.at(id)->socket.get(), &byte, 1, MSG_DONTWAIT) == 1;
              const bool serves = said && find(id);
              over(serves ? Status{} : fail(Errc::os, "keepwell forward-ports has ended"));
            });
        if (!watched) over(watched);
      },
      theirs->get());
}

bool PortForwards::find(const std::string& id) {
  auto helper = std::make_unique<HelperProcess>(*loop_);
  if (!helper->find(pid_file(id), pid_file(id), [this, id] {
        helpers_.erase(id);
        on_death_(id);
      })) {
    return false;
  }
  helpers_[id] = std::move(helper);
  return true;
}

void PortForwards::end(const std::string& id, std::function<void()> then) {
  if (!helpers_.contains(id) && !find(id)) {
    ::unlink(pid_file(id).c_str());
    return then();
  }
  helpers_.at(id)->end([this, id, then = std::move(then)] {
    helpers_.erase(id);
    ::unlink(pid_file(id).c_str());
    then();
  });
}

void PortForwards::end_others(const std::function<bool(const std::string&)>& known) {
  for (const std::string& id : list_state_files(dir_, ".ports")) {
    if (!known(id)) end(id, [] {});
  }
}

}  // namespace keepwell
