// Which subnet a network gets and which addresses a container, from what is in use already. Pure.
//
// A network without a subnet of its own gets the first /20 of 10.89.0.0 to 10.255.0.0 that neither
// a route of this host nor another network of ours has, beginning at a place that its name says, so
// that it is mostly the same one each time and two projects seldom want the same. Addresses are
// chosen alike. (A /20 and not Podman's /24, since a project may have a thousand services.)
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "config/spec.h"
#include "runtime/network/network_record.h"

namespace keepwell {

struct HostRoute {
  Subnet to;
  std::string interface;

  bool operator==(const HostRoute&) const = default;
};

// From /proc/net/route and /proc/net/ipv6_route; default routes and those of no interest (the
// loopback's, multicast) are left out.
std::vector<HostRoute> parse_routes(std::string_view route4, std::string_view route6);

struct NetworksInUse {
  std::map<std::string, NetworkRecord> records;  // of containers, by id
  std::vector<HostRoute> routes;
  std::map<std::string, std::set<std::string>>
      reserved;                           // addresses that the file gives, by network
  const NetworkRecord* before = nullptr;  // of the same container's last run
};

struct NetworkClient {
  std::string id;    // of the container
  std::string name;  // of the container
  std::string service;
  std::string hostname;  // empty: none of its own
};

// 64 hex digits; SCOPE (the run directory) keeps those of two keepwells apart.
std::string network_id(std::string_view scope, std::string_view name);
std::string bridge_name(const NetworkSpec& network, std::string_view id);

// The record of CLIENT with its endpoints, without ports. Errc::conflict where what the file wants
// is taken, or nothing is free; the text says by whom.
Result<NetworkRecord> plan_networks(std::string_view scope, const NetworkClient& client,
                                    const std::vector<NetworkUse>& uses,
                                    const NetworksInUse& in_use);

}  // namespace keepwell
