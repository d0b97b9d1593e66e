// The host's ports that are published. Each is held by a socket that is bound and never listens:
// what arrives is led to the container before it gets there, and no other program, another keepwell
// among them, takes the port meanwhile. Without root nothing is led anywhere: then it listens, and
// what port_relay.h says serves it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "config/result.h"
#include "config/spec.h"
#include "runtime/network/network_record.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class PortHold {
 public:
  explicit PortHold(bool listening) : listening_(listening) {}

  // Takes the ports of container ID, choosing those that are not fixed: one of BEFORE (of its last
  // run) where it is free. What it held before is let go. Errc::conflict where one is in use;
  // nothing is held then.
  Result<std::vector<PublishedPort>> take(const std::string& id, const std::vector<PortSpec>& ports,
                                          const std::vector<PublishedPort>& before);
  // Those of a container that runs; what cannot be held is left.
  void hold(const std::string& id, const std::vector<PublishedPort>& ports);
  void release(const std::string& id) { held_.erase(id); }
  // The sockets of its ports, in order; borrowed. Fewer than those where some could not be held.
  std::vector<int> sockets(const std::string& id) const;

 private:
  // A container with more of them than this is not worth the descriptors, unless they serve.
  static constexpr std::size_t kHeldMax = 128;
  bool worth_holding(std::size_t held) const { return listening_ || held < kHeldMax; }
  Result<UniqueFd> bind_port(const std::string& protocol, const std::string& host_ip,
                             std::uint16_t& port) const;

  bool listening_;
  std::map<std::string, std::vector<UniqueFd>> held_;
};

}  // namespace keepwell
