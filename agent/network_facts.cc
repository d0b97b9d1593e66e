#include "agent/network_facts.h"

#include <algorithm>
#include <charconv>

#include "runtime/image/sha256.h"
#include "runtime/network/network_plan.h"

namespace keepwell {
namespace {

NetworkFacts facts_of(const Endpoint& e, const std::string& id) {
  NetworkFacts facts;
  facts.name = e.network;
  facts.network_id = e.network_id;
  facts.endpoint_id = sha256_hex(id + " " + e.network_id);
  facts.mac_address = e.mac_address;
  facts.aliases = e.names;
  for (const EndpointSubnet& s : e.subnets) {
    if (s.subnet.base.v6) {
      facts.ipv6_address = to_string(s.address);
      facts.ipv6_prefix_len = s.subnet.prefix;
      facts.ipv6_gateway = to_string(s.gateway);
    } else {
      facts.ip_address = to_string(s.address);
      facts.ip_prefix_len = s.subnet.prefix;
      facts.gateway = e.internal ? std::string() : to_string(s.gateway);
    }
  }
  return facts;
}

// "6379/tcp": what the image and `expose` say; nothing is opened by it.
void add_exposed(const ServiceSpec& spec, std::vector<PortFacts>& ports) {
  for (const std::string& text : spec.exposed_ports) {
    PortFacts port;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, port.container_port);
    if (error != std::errc() || port.container_port == 0) continue;
    if (stop != end && *stop == '/') port.protocol.assign(stop + 1, end);
    const bool shown = std::any_of(ports.begin(), ports.end(), [&](const PortFacts& other) {
      return other.container_port == port.container_port && other.protocol == port.protocol;
    });
    if (!shown) ports.push_back(std::move(port));
  }
}

}  // namespace

void add_network_facts(const ServiceSpec& spec, const std::string& id, const std::string& run_dir,
                       const NetworkRecord* record, bool running, RuntimeFacts& facts) {
  if (record != nullptr) {
    for (const Endpoint& e : record->endpoints) facts.networks.push_back(facts_of(e, id));
    for (const PublishedPort& p : record->ports) {
      facts.ports.push_back(
          {p.container_port, p.protocol, p.host_ip.empty() ? "0.0.0.0" : p.host_ip, p.host_port});
    }
  } else if (!running) {
    for (const NetworkUse& use : spec.networks) {
      NetworkFacts network;
      network.name = use.network.name;
      network.network_id = network_id(run_dir, use.network.name);
      network.aliases = use.aliases;
      facts.networks.push_back(std::move(network));
    }
  }
  add_exposed(spec, facts.ports);
}

std::map<std::string, std::set<std::string>> fixed_addresses(const ProjectSpec& project) {
  std::map<std::string, std::set<std::string>> addresses;
  for (const ServiceSpec& service : project.services) {
    for (const NetworkUse& use : service.networks) {
      for (const std::string* address : {&use.ipv4_address, &use.ipv6_address}) {
        if (!address->empty()) addresses[use.network.name].insert(*address);
      }
    }
  }
  return addresses;
}

}  // namespace keepwell
