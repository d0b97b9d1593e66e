#include "runtime/network/network_plan.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <sstream>

#include "runtime/image/sha256.h"

namespace keepwell {
namespace {

constexpr int kPrefix = 20;
constexpr int kPrefix6 = 64;

// 0 to COUNT - 1, by NAME.
std::uint64_t place_of(std::string_view name, std::uint64_t count) {
  std::uint64_t number = 0;
  const std::string hex = sha256_hex(name).substr(0, 15);
  std::from_chars(hex.data(), hex.data() + hex.size(), number, 16);
  return count == 0 ? 0 : number % count;
}

int prefix_of_mask(std::uint32_t mask_little_endian) {
  return __builtin_popcount(mask_little_endian);
}

void parse_line4(const std::string& line, std::vector<HostRoute>& routes) {
  std::istringstream words(line);
  HostRoute route;
  std::string destination, word, mask;
  words >> route.interface >> destination;
  for (int i = 0; i < 5; ++i) words >> word;  // gateway, flags, refcnt, use, metric
  words >> mask;
  std::uint32_t base = 0, bits = 0;
  auto hex = [](const std::string& text, std::uint32_t& out) {
    return std::from_chars(text.data(), text.data() + text.size(), out, 16).ec == std::errc{};
  };
  if (!words || !hex(destination, base) || !hex(mask, bits) || bits == 0) return;
  IpAddress address;
  for (std::size_t i = 0; i < 4; ++i) {
    address.bytes[i] = static_cast<std::uint8_t>(base >> (8 * i));
  }
  route.to = subnet_of(address, prefix_of_mask(bits));
  routes.push_back(std::move(route));
}

void parse_line6(const std::string& line, std::vector<HostRoute>& routes) {
  std::istringstream words(line);
  std::string destination, bits, word;
  HostRoute route;
  words >> destination >> bits;
  for (int i = 0; i < 7; ++i) words >> word;
  words >> route.interface;
  if (!words || destination.size() != 32 || route.interface == "lo") return;
  IpAddress address{.v6 = true, .bytes = {}};
  int prefix = 0;
  std::from_chars(bits.data(), bits.data() + bits.size(), prefix, 16);
  for (std::size_t i = 0; i < 16; ++i) {
    std::from_chars(destination.data() + 2 * i, destination.data() + 2 * i + 2, address.bytes[i],
                    16);
  }
  const bool local = address.bytes[0] == 0xff || (address.bytes[0] == 0xfe && prefix >= 10);
  if (prefix == 0 || prefix == 128 || local) return;
  route.to = subnet_of(address, prefix);
  routes.push_back(std::move(route));
}

// One network as it is now.
struct Chosen {
  Subnet subnet;
  IpAddress gateway;
  std::optional<Subnet> range;
};

class Planner {
 public:
  Planner(std::string_view scope, const NetworkClient& client, const NetworksInUse& in_use)
      : scope_(scope), client_(client), in_use_(in_use) {}

  Result<Endpoint> endpoint(const NetworkUse& use, std::size_t number) {
    const NetworkSpec& network = use.network;
    Endpoint e;
    e.key = network.key;
    e.network = network.name;
    e.network_id = network_id(scope_, network.name);
    e.bridge = bridge_name(network, e.network_id);
    e.interface = "eth" + std::to_string(number);
    e.internal = network.internal;
    e.mtu = network.mtu;
    Result<std::vector<Chosen>> chosen = subnets(network, e);
    if (!chosen) return fail(chosen.error());
    for (const Chosen& one : *chosen) {
      Result<IpAddress> address = address_in(use, e, one);
      if (!address) return fail(address.error());
      e.subnets.push_back({one.subnet, one.gateway, *address});
    }
    e.mac_address = use.mac_address.empty() ? mac_of(e) : use.mac_address;
    add_names(use, e);
    return e;
  }

  // Those that an endpoint before has taken.
  void add_taken(const Endpoint& e) {
    for (const EndpointSubnet& s : e.subnets) own_.push_back({s.subnet, e.bridge});
  }

 private:
  // Of another container on the network; null: nobody is on it.
  const Endpoint* on_network(const std::string& id) const {
    for (const auto& [owner, record] : in_use_.records) {
      if (owner == client_.id) continue;
      for (const Endpoint& e : record.endpoints) {
        if (e.network_id == id) return &e;
      }
    }
    return nullptr;
  }

  // Who else has a part of SUBNET; empty: nobody.
  std::string user_of(const Subnet& subnet, const std::string& bridge) const {
    for (const auto& [owner, record] : in_use_.records) {
      for (const Endpoint& e : record.endpoints) {
        if (e.bridge == bridge) continue;
        for (const EndpointSubnet& s : e.subnets) {
          if (overlap(s.subnet, subnet)) return "network " + e.network;
        }
      }
    }
    for (const std::vector<HostRoute>* routes : {&in_use_.routes, &own_}) {
      for (const HostRoute& route : *routes) {
        if (route.interface != bridge && overlap(route.to, subnet)) {
          return "the route " + to_string(route.to) + " of interface " + route.interface;
        }
      }
    }
    return {};
  }

  Result<std::vector<Chosen>> subnets(const NetworkSpec& network, const Endpoint& e) const {
    std::vector<Chosen> chosen;
    bool v4 = false, v6 = false;
    for (const SubnetSpec& spec : network.subnets) {
      const Subnet subnet = *parse_subnet(spec.subnet);
      if (std::string user = user_of(subnet, e.bridge); !user.empty()) {
        return fail(Errc::conflict, "cannot make network " + network.name + ": its subnet " +
                                        spec.subnet + " is in use by " + user +
                                        "; choose another in ipam.config");
      }
      chosen.push_back({subnet, parse_ip(spec.gateway).value_or(plus(subnet.base, 1)),
                        parse_subnet(spec.ip_range)});
      (subnet.base.v6 ? v6 : v4) = true;
    }
    const Endpoint* there = on_network(e.network_id);
    auto add = [&](bool six, auto choose) -> Status {
      for (const EndpointSubnet& s : there ? there->subnets : std::vector<EndpointSubnet>{}) {
        if (s.subnet.base.v6 != six) continue;
        chosen.push_back({s.subnet, s.gateway, std::nullopt});
        return {};
      }
      std::optional<Subnet> subnet = choose();
      if (!subnet) {
        return fail(Errc::conflict, "cannot make network " + network.name +
                                        ": no subnet is free on this host; give it one in "
                                        "ipam.config");
      }
      chosen.push_back({*subnet, plus(subnet->base, 1), std::nullopt});
      return {};
    };
    if (!v4) {
      Status added = add(false, [&] { return choose4(network, e); });
      if (!added) return fail(added.error());
    }
    if (network.ipv6 && !v6) {
      Status added = add(true, [&] { return choose6(e); });
      if (!added) return fail(added.error());
    }
    std::stable_sort(chosen.begin(), chosen.end(), [](const Chosen& a, const Chosen& b) {
      return a.subnet.base.v6 < b.subnet.base.v6;
    });
    return chosen;
  }

  std::optional<Subnet> choose4(const NetworkSpec& network, const Endpoint& e) const {
    const IpAddress first = *parse_ip("10.89.0.0");
    constexpr std::uint64_t kBlock = 1u << (32 - kPrefix);
    constexpr std::uint64_t kBlocks = (256 - 89) * 65536 / kBlock;
    const std::uint64_t start = place_of(network.name, kBlocks);
    for (std::uint64_t i = 0; i < kBlocks; ++i) {
      const Subnet subnet = subnet_of(plus(first, (start + i) % kBlocks * kBlock), kPrefix);
      if (user_of(subnet, e.bridge).empty()) return subnet;
    }
    return std::nullopt;
  }

  // A local one of RFC 4193 whose 40 random bits are the network's id.
  std::optional<Subnet> choose6(const Endpoint& e) const {
    IpAddress address{.v6 = true, .bytes = {0xfd}};
    for (std::size_t i = 0; i < 5; ++i) {
      std::from_chars(e.network_id.data() + 2 * i, e.network_id.data() + 2 * i + 2,
                      address.bytes[i + 1], 16);
    }
    const Subnet subnet = subnet_of(address, kPrefix6);
    return user_of(subnet, e.bridge).empty() ? std::optional(subnet) : std::nullopt;
  }

  // The name of the container on network ID that has ADDRESS; empty: none.
  std::string owner_of(const IpAddress& address, const std::string& id) const {
    for (const auto& [owner, record] : in_use_.records) {
      if (owner == client_.id) continue;
      for (const Endpoint& e : record.endpoints) {
        if (e.network_id != id) continue;
        for (const EndpointSubnet& s : e.subnets) {
          if (s.address == address) return record.name;
        }
      }
    }
    return {};
  }

  Result<IpAddress> address_in(const NetworkUse& use, const Endpoint& e, const Chosen& in) const {
    const bool v6 = in.subnet.base.v6;
    const std::string& wanted = v6 ? use.ipv6_address : use.ipv4_address;
    std::optional<IpAddress> fixed = parse_ip(wanted);
    if (fixed && contains(in.subnet, *fixed)) {
      std::string owner = owner_of(*fixed, e.network_id);
      if (owner.empty()) return *fixed;
      return fail(Errc::conflict, "cannot give " + client_.name + " the address " + wanted + ": " +
                                      owner + " has it on network " + e.network +
                                      "; stop that, or choose another");
    }
    auto reserved = in_use_.reserved.find(e.network);
    auto free = [&](const IpAddress& address) {
      if (address == in.gateway || address == in.subnet.base) return false;
      if (!v6 && address == last_of(in.subnet)) return false;
      if (reserved != in_use_.reserved.end() && reserved->second.contains(to_string(address))) {
        return false;
      }
      return owner_of(address, e.network_id).empty();
    };
    if (std::optional<IpAddress> before = last_time(e, in); before && free(*before)) {
      return *before;
    }
    const Subnet from = in.range.value_or(in.subnet);
    const int bits = std::min(from.base.bits() - from.prefix, 16);
    const std::uint64_t count = std::uint64_t{1} << bits;
    const std::uint64_t start = place_of(client_.name, count);
    for (std::uint64_t i = 0; i < count; ++i) {
      const IpAddress address = plus(from.base, (start + i) % count);
      if (free(address)) return address;
    }
    return fail(Errc::conflict, "cannot give " + client_.name + " an address: all of " +
                                    to_string(from) + " on network " + e.network +
                                    " are taken; choose a larger subnet or ip_range");
  }

  std::optional<IpAddress> last_time(const Endpoint& e, const Chosen& in) const {
    if (in_use_.before == nullptr) return std::nullopt;
    for (const Endpoint& old : in_use_.before->endpoints) {
      if (old.network_id != e.network_id) continue;
      for (const EndpointSubnet& s : old.subnets) {
        if (contains(in.range.value_or(in.subnet), s.address)) return s.address;
      }
    }
    return std::nullopt;
  }

  // As Docker does: from the address, so that neighbours that remember the one of the last run are
  // right.
  static std::string mac_of(const Endpoint& e) {
    char text[18];
    const auto& b = e.subnets.at(0).address.bytes;
    std::snprintf(text, sizeof text, "02:42:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3]);
    return text;
  }

  void add_names(const NetworkUse& use, Endpoint& e) const {
    auto add = [&](const std::string& name) {
      if (!name.empty() && std::find(e.names.begin(), e.names.end(), name) == e.names.end()) {
        e.names.push_back(name);
      }
    };
    add(client_.name);
    add(client_.service);
    for (const std::string& alias : use.aliases) add(alias);
    add(client_.hostname);
    add(client_.id.substr(0, 12));
  }

  std::string_view scope_;
  const NetworkClient& client_;
  const NetworksInUse& in_use_;
  std::vector<HostRoute> own_;
};

}  // namespace

std::vector<HostRoute> parse_routes(std::string_view route4, std::string_view route6) {
  std::vector<HostRoute> routes;
  std::istringstream four{std::string(route4)}, six{std::string(route6)};
  std::string line;
  std::getline(four, line);  // its heading
  while (std::getline(four, line)) parse_line4(line, routes);
  while (std::getline(six, line)) parse_line6(line, routes);
  return routes;
}

std::string network_id(std::string_view scope, std::string_view name) {
  return sha256_hex(std::string(scope) + "\n" + std::string(name));
}

std::string bridge_name(const NetworkSpec& network, std::string_view id) {
  return network.bridge.empty() ? "kw-" + std::string(id.substr(0, 12)) : network.bridge;
}

Result<NetworkRecord> plan_networks(std::string_view scope, const NetworkClient& client,
                                    const std::vector<NetworkUse>& uses,
                                    const NetworksInUse& in_use) {
  NetworkRecord record;
  record.id = client.id;
  record.name = client.name;
  Planner planner(scope, client, in_use);
  for (const NetworkUse& use : uses) {
    Result<Endpoint> endpoint = planner.endpoint(use, record.endpoints.size());
    if (!endpoint) return fail(endpoint.error());
    planner.add_taken(*endpoint);
    record.endpoints.push_back(std::move(*endpoint));
  }
  return record;
}

}  // namespace keepwell
