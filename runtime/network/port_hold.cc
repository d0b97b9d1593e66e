#include "runtime/network/port_hold.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "config/ip_address.h"

namespace keepwell {
namespace {

// Bound; with port 0, PORT is the one that the kernel chose.
Result<UniqueFd> bind_port(const std::string& protocol, const std::string& host_ip,
                           std::uint16_t& port) {
  const IpAddress address = parse_ip(host_ip).value_or(IpAddress{});
  const int type = protocol == "udp" ? SOCK_DGRAM : SOCK_STREAM;
  UniqueFd fd(::socket(address.v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("cannot make a socket");
  sockaddr_storage storage{};
  socklen_t size = 0;
  if (address.v6) {
    const int only = 1;
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    auto* six = reinterpret_cast<sockaddr_in6*>(&storage);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    std::memcpy(&six->sin6_addr, address.bytes.data(), 16);
    size = sizeof *six;
  } else {
    auto* four = reinterpret_cast<sockaddr_in*>(&storage);
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    std::memcpy(&four->sin_addr, address.bytes.data(), 4);
    size = sizeof *four;
  }
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0) return fail_errno("bind");
  if (port == 0 && getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &size) == 0) {
    port = ntohs(address.v6 ? reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port
                            : reinterpret_cast<sockaddr_in*>(&storage)->sin_port);
  }
  return fd;
}

Error cannot_publish(const PortSpec& port, const Error& why) {
  std::string what = std::to_string(port.host_port);
  if (port.host_port_last != 0) what += "-" + std::to_string(port.host_port_last);
  what += "/" + port.protocol + (port.host_ip.empty() ? "" : " of " + port.host_ip);
  if (errno == EADDRINUSE) {
    return {Errc::conflict, "cannot publish port " + what +
                                ": another program of this host has it; stop that, or choose "
                                "another port"};
  }
  return {Errc::os, "cannot publish port " + what + ": " + why.text};
}

}  // namespace

Result<std::vector<PublishedPort>> PortHold::take(const std::string& id,
                                                  const std::vector<PortSpec>& ports,
                                                  const std::vector<PublishedPort>& before) {
  held_.erase(id);
  std::vector<PublishedPort> published;
  std::vector<UniqueFd> sockets;
  for (const PortSpec& spec : ports) {
    PublishedPort port{spec.container_port, spec.protocol, spec.host_ip, 0};
    std::vector<std::uint16_t> candidates;
    const std::uint16_t last = std::max(spec.host_port, spec.host_port_last);
    auto old = std::find_if(before.begin(), before.end(), [&](const PublishedPort& b) {
      return b.container_port == port.container_port && b.protocol == port.protocol &&
             b.host_ip == port.host_ip &&
             (spec.host_port == 0 || (b.host_port >= spec.host_port && b.host_port <= last));
    });
    if (old != before.end()) candidates.push_back(old->host_port);
    if (spec.host_port == 0) {
      candidates.push_back(0);
    } else {
      for (int n = spec.host_port; n <= last; ++n) {
        candidates.push_back(static_cast<std::uint16_t>(n));
      }
    }
    Error why;
    for (std::uint16_t candidate : candidates) {
      Result<UniqueFd> bound = bind_port(port.protocol, port.host_ip, candidate);
      if (!bound) {
        why = cannot_publish(spec, bound.error());
        continue;
      }
      port.host_port = candidate;
      if (sockets.size() < kHeldMax) sockets.push_back(std::move(*bound));
      break;
    }
    if (port.host_port == 0) return fail(why);
    published.push_back(std::move(port));
  }
  if (!sockets.empty()) held_[id] = std::move(sockets);
  return published;
}

void PortHold::hold(const std::string& id, const std::vector<PublishedPort>& ports) {
  std::vector<UniqueFd> sockets;
  for (const PublishedPort& port : ports) {
    if (sockets.size() == kHeldMax) break;
    std::uint16_t number = port.host_port;
    Result<UniqueFd> bound = bind_port(port.protocol, port.host_ip, number);
    if (bound) sockets.push_back(std::move(*bound));
  }
  if (!sockets.empty()) held_[id] = std::move(sockets);
}

}  // namespace keepwell
