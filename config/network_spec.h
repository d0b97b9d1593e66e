// The networks of a Compose file, as the services that are on them see them. Part of ServiceSpec
// (spec.h); the same rules hold: plain values, an initialiser is the default. A service carries the
// whole description of its networks, so that a change of one makes the containers on it anew.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace keepwell {

inline constexpr const char* kDefaultNetworkKey = "default";
// In extra_hosts, the host's address on the container's first network.
inline constexpr const char* kHostGateway = "host-gateway";

// One item of ipam.config. Addresses as text in their usual form: 10.5.0.0/16, fd00::/64.
struct SubnetSpec {
  std::string subnet;
  std::string gateway;   // empty: its first address
  std::string ip_range;  // what addresses are given out from; empty: all of it

  bool operator==(const SubnetSpec&) const = default;
};

// A bridge on this host.
struct NetworkSpec {
  std::string key;                  // in the file
  std::string name;                 // <project>_<key>, or what the file says
  std::string bridge;               // name of the interface; empty: made from the name
  std::int64_t mtu = 0;             // 0: the kernel's
  bool internal = false;            // no way out, nothing is published
  bool ipv6 = false;                // also
  std::vector<SubnetSpec> subnets;  // empty: chosen where nothing else is
  std::map<std::string, std::string> labels;

  bool operator==(const NetworkSpec&) const = default;
};

// A service on a network.
struct NetworkUse {
  NetworkSpec network;
  std::vector<std::string> aliases;        // beside the names of service and container
  std::string ipv4_address, ipv6_address;  // empty: given out
  std::string mac_address;                 // empty: the kernel's choice
  std::int64_t priority = 0;               // the highest is eth0, and the way out

  bool operator==(const NetworkUse&) const = default;
};

// A port of the container that is reached through the host.
struct PortSpec {
  std::uint16_t container_port = 0;
  std::string protocol = "tcp";      // or udp
  std::string host_ip;               // empty: all addresses
  std::uint16_t host_port = 0;       // 0: any that is free
  std::uint16_t host_port_last = 0;  // a free one of host_port to this; 0: host_port and no other

  bool operator==(const PortSpec&) const = default;
};

}  // namespace keepwell
