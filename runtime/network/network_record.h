// What one container has of networks, as it stands in <run_dir>/networks/<id>.json from before the
// first interface is made until the last rule is gone: whoever finds the file knows what to take
// down.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/ip_address.h"
#include "config/result.h"

namespace keepwell {

struct EndpointSubnet {
  Subnet subnet;
  IpAddress gateway;
  IpAddress address;  // the container's

  bool operator==(const EndpointSubnet&) const = default;
};

// A container on one network.
struct Endpoint {
  std::string key;         // of the network in the file
  std::string network;     // its name
  std::string network_id;  // 64 hex digits
  std::string bridge;      // the host's interface
  std::string interface;   // the container's: eth0...
  bool internal = false;
  std::int64_t mtu = 0;
  std::vector<EndpointSubnet> subnets;
  std::string mac_address;
  std::vector<std::string> names;  // by which it is found on this network

  bool operator==(const Endpoint&) const = default;
};

struct PublishedPort {
  std::uint16_t container_port = 0;
  std::string protocol;
  std::string host_ip;  // empty: all
  std::uint16_t host_port = 0;

  bool operator==(const PublishedPort&) const = default;
};

struct NetworkRecord {
  std::string id;           // of the container
  std::string name;         // of the container
  std::string shared_with;  // id of the container whose network it is; then there is nothing below
  std::vector<Endpoint> endpoints;
  std::vector<PublishedPort> ports;

  bool operator==(const NetworkRecord&) const = default;
};

std::string record_text(const NetworkRecord& record);
Result<NetworkRecord> parse_record(const std::string& text);

}  // namespace keepwell
