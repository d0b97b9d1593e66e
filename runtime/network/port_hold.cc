#include "runtime/network/port_hold.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "config/ip_address.h"
#include "runtime/network/socket_address.h"
#include "runtime/state_file.h"

namespace keepwell {
namespace {

bool covers(const PortSpec& spec, std::uint16_t host_port) {
  return host_port >= spec.host_port && host_port <= std::max(spec.host_port, spec.host_port_last);
}

// Whether one of SPECS asks for the host's port of PORT.
bool is_fixed(const PublishedPort& port, const std::vector<PortSpec>& specs) {
  return std::any_of(specs.begin(), specs.end(), [&](const PortSpec& spec) {
    return spec.host_port != 0 && spec.protocol == port.protocol && covers(spec, port.host_port);
  });
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
  if (errno == EACCES) {
    const std::string sysctl = "net.ipv4.ip_unprivileged_port_start";
    Result<std::string> text = read_small_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", 32);
    const int first = text ? std::atoi(text->c_str()) : 1024;
    return {Errc::denied, "cannot publish port " + what + ": ports below " + std::to_string(first) +
                              " are root's (sysctl " + sysctl +
                              "); choose a higher one, or as root: sysctl -w " + sysctl + "=" +
                              std::to_string(port.host_port)};
  }
  return {Errc::os, "cannot publish port " + what + ": " + why.text};
}

}  // namespace

// Bound; with port 0, PORT is the one that the kernel chose.
Result<UniqueFd> PortHold::bind_port(const std::string& protocol, const std::string& host_ip,
                                     std::uint16_t& port) const {
  const IpAddress address = parse_ip(host_ip).value_or(IpAddress{});
  const bool udp = protocol == "udp";
  UniqueFd fd(::socket(address.v6 ? AF_INET6 : AF_INET,
                       (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("cannot make a socket");
  const int on = 1;
  if (address.v6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  // Connections of the last run that are still closing are in nobody's way.
  if (listening_ && !udp) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  SocketAddress at = socket_address(address, port);
  if (::bind(fd.get(), at.get(), at.bytes) != 0) return fail_errno("bind");
  if (listening_ && !udp && ::listen(fd.get(), SOMAXCONN) != 0) return fail_errno("listen");
  at.bytes = sizeof at.storage;
  if (port == 0 && getsockname(fd.get(), at.get(), &at.bytes) == 0) {
    port = ntohs(address.v6 ? reinterpret_cast<sockaddr_in6*>(&at.storage)->sin6_port
                            : reinterpret_cast<sockaddr_in*>(&at.storage)->sin_port);
  }
  return fd;
}

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
    for (const PublishedPort& b : before) {
      const bool same = b.container_port == port.container_port && b.protocol == port.protocol &&
                        b.host_ip == port.host_ip;
      if (same && (spec.host_port == 0 ? !is_fixed(b, ports) : covers(spec, b.host_port)))
        candidates.push_back(b.host_port);
    }
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
      if (worth_holding(sockets.size())) sockets.push_back(std::move(*bound));
      break;
    }
    if (port.host_port == 0) return fail(why);
    published.push_back(std::move(port));
  }
  if (!sockets.empty()) held_[id] = std::move(sockets);
  return published;
}

void PortHold::hold(const std::string& id, const std::vector<PublishedPort>& ports) {
  held_.erase(id);
  std::vector<UniqueFd> sockets;
  for (const PublishedPort& port : ports) {
    if (!worth_holding(sockets.size())) break;
    std::uint16_t number = port.host_port;
    Result<UniqueFd> bound = bind_port(port.protocol, port.host_ip, number);
    if (bound) sockets.push_back(std::move(*bound));
  }
  if (!sockets.empty()) held_[id] = std::move(sockets);
}

std::vector<int> PortHold::sockets(const std::string& id) const {
  std::vector<int> fds;
  auto found = held_.find(id);
  if (found == held_.end()) return fds;
  for (const UniqueFd& fd : found->second) fds.push_back(fd.get());
  return fds;
}

}  // namespace keepwell
