#include "runtime/network/udp_relay.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "runtime/loop.h"

namespace keepwell {
namespace {

constexpr Duration kIdle = std::chrono::seconds(90);  // as Docker's userland proxy
constexpr Duration kIdleLook = std::chrono::seconds(10);
constexpr std::size_t kFlowsMax = 1024;
constexpr int kDatagramsPerTurn = 32;
constexpr std::size_t kDatagramMax = 65536;

std::array<char, kDatagramMax> the_datagram;

}  // namespace

std::string UdpRelay::Client::key() const {
  std::string key(reinterpret_cast<const char*>(&from), from_bytes);
  key.append(reinterpret_cast<const char*>(&to4.ipi_addr), sizeof to4.ipi_addr);
  key.append(reinterpret_cast<const char*>(&to6.ipi6_addr), sizeof to6.ipi6_addr);
  return key;
}

UdpRelay::UdpRelay(Loop& loop, UniqueFd fd, const RelayTarget& target)
    : loop_(&loop), fd_(std::move(fd)), target_(target), watch_(loop), idle_timer_(loop) {}

Result<std::unique_ptr<UdpRelay>> UdpRelay::open(Loop& loop, UniqueFd fd,
                                                 const RelayTarget& target) {
  std::unique_ptr<UdpRelay> relay(new UdpRelay(loop, std::move(fd), target));
  const int socket = relay->fd_.get();
  sockaddr_storage own{};
  socklen_t bytes = sizeof own;
  const int on = 1;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&own), &bytes) != 0)
    return fail_errno("cannot read the address of a published port");
  relay->v6_ = own.ss_family == AF_INET6;
  const int set = relay->v6_ ? setsockopt(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on)
                             : setsockopt(socket, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
  if (set != 0) return fail_errno("cannot ask for the addresses of datagrams");
  Status watched = relay->watch_.start(socket, {.readable = true},
                                       [self = relay.get()](Ready) { self->receive(); });
  if (!watched) return fail(watched.error());
  return relay;
}

void UdpRelay::receive() {
  for (int i = 0; i < kDatagramsPerTurn; ++i) {
    Client client;
    iovec part{the_datagram.data(), the_datagram.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in6_pktinfo))];
    msghdr message{};
    message.msg_name = &client.from;
    message.msg_namelen = sizeof client.from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT);
    if (n < 0) return;
    client.from_bytes = message.msg_namelen;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
        std::memcpy(&client.to4, CMSG_DATA(c), sizeof client.to4);
      if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
        std::memcpy(&client.to6, CMSG_DATA(c), sizeof client.to6);
    }
    Flow* flow = flow_of(client);
    if (flow == nullptr) continue;
    flow->used = Loop::now().mono;
    // What the container's queue does not take is lost, as datagrams are.
    (void)::send(flow->fd.get(), the_datagram.data(), static_cast<std::size_t>(n),
                 MSG_DONTWAIT | MSG_NOSIGNAL);
  }
}

UdpRelay::Flow* UdpRelay::flow_of(const Client& client) {
  const std::string key = client.key();
  if (auto found = flows_.find(key); found != flows_.end()) return found->second.get();
  if (flows_.size() >= kFlowsMax) {
    flows_.erase(std::min_element(flows_.begin(), flows_.end(), [](const auto& a, const auto& b) {
      return a.second->used < b.second->used;
    }));
  }
  Result<UniqueFd> connected = connect_to(target_);
  if (!connected) return nullptr;
  auto flow = std::make_unique<Flow>(*loop_);
  flow->client = client;
  flow->fd = std::move(*connected);
  Status watched = flow->watch.start(flow->fd.get(), {.readable = true},
                                     [this, raw = flow.get()](Ready) { answer(*raw); });
  if (!watched) return nullptr;
  if (!idle_timer_.armed()) idle_timer_.start_after(kIdleLook, [this] { drop_idle(); });
  return flows_.emplace(key, std::move(flow)).first->second.get();
}

void UdpRelay::answer(Flow& flow) {
  for (int i = 0; i < kDatagramsPerTurn; ++i) {
    const ssize_t n = ::recv(flow.fd.get(), the_datagram.data(), the_datagram.size(), MSG_DONTWAIT);
    if (n < 0) return;  // also ECONNREFUSED: nobody listens in there (yet)
    flow.used = Loop::now().mono;
    iovec part{the_datagram.data(), static_cast<std::size_t>(n)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in6_pktinfo))]{};
    msghdr message{};
    message.msg_name = &flow.client.from;
    message.msg_namelen = flow.client.from_bytes;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    cmsghdr* header = reinterpret_cast<cmsghdr*>(control);
    if (v6_) {
      message.msg_controllen = CMSG_SPACE(sizeof(in6_pktinfo));
      *header = {.cmsg_len = CMSG_LEN(sizeof(in6_pktinfo)),
                 .cmsg_level = IPPROTO_IPV6,
                 .cmsg_type = IPV6_PKTINFO};
      std::memcpy(CMSG_DATA(header), &flow.client.to6, sizeof(in6_pktinfo));
    } else {
      in_pktinfo from{};
      from.ipi_spec_dst = flow.client.to4.ipi_addr;
      message.msg_controllen = CMSG_SPACE(sizeof(in_pktinfo));
      *header = {.cmsg_len = CMSG_LEN(sizeof(in_pktinfo)),
                 .cmsg_level = IPPROTO_IP,
                 .cmsg_type = IP_PKTINFO};
      std::memcpy(CMSG_DATA(header), &from, sizeof from);
    }
    (void)::sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
}

void UdpRelay::drop_idle() {
  const Instant now = Loop::now().mono;
  std::erase_if(flows_, [&](const auto& each) { return each.second->used + kIdle <= now; });
  if (!flows_.empty()) idle_timer_.start_after(kIdleLook, [this] { drop_idle(); });
}

}  // namespace keepwell
