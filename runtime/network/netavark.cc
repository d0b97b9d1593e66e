#include "runtime/network/netavark.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace keepwell {
namespace {

using Json = nlohmann::ordered_json;

Json options_of(const Endpoint& e) {
  // Without it the host forwards from one bridge to the other.
  Json options = {{"isolate", "true"}};
  if (e.mtu != 0) options["mtu"] = std::to_string(e.mtu);
  return options;
}

// One rule serves neighbours: 8000-8010 to 9000-9010.
Json port_mappings(const std::vector<PublishedPort>& ports) {
  std::vector<PublishedPort> sorted = ports;
  std::sort(sorted.begin(), sorted.end(), [](const PublishedPort& a, const PublishedPort& b) {
    return std::tie(a.protocol, a.host_ip, a.host_port) <
           std::tie(b.protocol, b.host_ip, b.host_port);
  });
  Json mappings = Json::array();
  const PublishedPort* first = nullptr;
  int range = 0;
  auto flush = [&] {
    if (first == nullptr) return;
    mappings.push_back({{"container_port", first->container_port},
                        {"host_ip", first->host_ip},
                        {"host_port", first->host_port},
                        {"protocol", first->protocol},
                        {"range", range}});
  };
  for (const PublishedPort& port : sorted) {
    const bool follows = first != nullptr && port.protocol == first->protocol &&
                         port.host_ip == first->host_ip &&
                         port.host_port == first->host_port + range &&
                         port.container_port == first->container_port + range;
    if (follows) {
      ++range;
      continue;
    }
    flush();
    first = &port;
    range = 1;
  }
  flush();
  return mappings;
}

}  // namespace

std::string netavark_input(const NetworkRecord& record) {
  Json networks = Json::object(), info = Json::object();
  for (const Endpoint& e : record.endpoints) {
    Json addresses = Json::array(), subnets = Json::array();
    bool v6 = false;
    for (const EndpointSubnet& s : e.subnets) {
      addresses.push_back(to_string(s.address));
      subnets.push_back({{"subnet", to_string(s.subnet)}, {"gateway", to_string(s.gateway)}});
      v6 = v6 || s.subnet.base.v6;
    }
    Json names = Json::array();  // the container's name is one anyway
    for (const std::string& name : e.names) {
      if (name != record.name) names.push_back(name);
    }
    networks[e.network] = {{"interface_name", e.interface},
                           {"static_ips", addresses},
                           {"static_mac", e.mac_address},
                           {"aliases", names}};
    info[e.network] = {{"name", e.network},       {"id", e.network_id},
                       {"driver", "bridge"},      {"network_interface", e.bridge},
                       {"subnets", subnets},      {"ipv6_enabled", v6},
                       {"internal", e.internal},  {"dns_enabled", true},
                       {"options", options_of(e)}};
  }
  return Json{{"container_id", record.id},
              {"container_name", record.name},
              {"networks", networks},
              {"network_info", info},
              {"port_mappings", port_mappings(record.ports)}}
      .dump(1);
}

std::vector<std::string> netavark_argv(const NetavarkPlace& place, std::string_view verb,
                                       const std::string& namespace_path) {
  // The rules are removed by what is known of this driver's (firewall_rules.h).
  std::vector<std::string> argv = {"env", "NETAVARK_FW=iptables", place.netavark, "--config",
                                   place.config_dir};
  if (!place.aardvark.empty()) {
    argv.insert(argv.end(), {"--aardvark-binary", place.aardvark});
  }
  argv.emplace_back(verb);
  argv.push_back(namespace_path);
  return argv;
}

std::string netavark_complaint(std::string_view output) {
  std::string last;
  while (!output.empty()) {
    const std::size_t end = output.find('\n');
    std::string line(output.substr(0, end));
    output.remove_prefix(end == std::string_view::npos ? output.size() : end + 1);
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("error") && json["error"].is_string()) {
      std::string text = json["error"].get<std::string>();
      std::replace(text.begin(), text.end(), '\n', ' ');
      while (!text.empty() && text.back() == ' ') text.pop_back();
      return text;
    }
    if (!line.empty()) last = std::move(line);
  }
  return last;
}

}  // namespace keepwell
