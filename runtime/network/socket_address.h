// An address and a port as the calls on sockets take them.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>

#include "config/ip_address.h"

namespace keepwell {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

inline SocketAddress socket_address(const IpAddress& address, std::uint16_t port) {
  SocketAddress made;
  if (address.v6) {
    auto* six = reinterpret_cast<sockaddr_in6*>(&made.storage);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    std::memcpy(&six->sin6_addr, address.bytes.data(), 16);
    made.bytes = sizeof *six;
  } else {
    auto* four = reinterpret_cast<sockaddr_in*>(&made.storage);
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    std::memcpy(&four->sin_addr, address.bytes.data(), 4);
    made.bytes = sizeof *four;
  }
  return made;
}

}  // namespace keepwell
