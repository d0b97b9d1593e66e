#include "exporters/network_json.h"

#include <nlohmann/json.hpp>

namespace keepwell {
namespace {

using nlohmann::ordered_json;

std::string port_key(const PortFacts& port) {
  return std::to_string(port.container_port) + "/" + port.protocol;
}

ordered_json binding(const PortFacts& port) {
  return {{"HostIp", port.host_ip}, {"HostPort", std::to_string(port.host_port)}};
}

ordered_json network_object(const NetworkFacts& network) {
  ordered_json aliases = nullptr;
  if (!network.aliases.empty()) aliases = network.aliases;
  return {{"IPAMConfig", nullptr},
          {"Links", nullptr},
          {"Aliases", aliases},
          {"MacAddress", network.mac_address},
          {"DriverOpts", nullptr},
          {"GwPriority", 0},
          {"NetworkID", network.network_id},
          {"EndpointID", network.endpoint_id},
          {"Gateway", network.gateway},
          {"IPAddress", network.ip_address},
          {"IPPrefixLen", network.ip_prefix_len},
          {"IPv6Gateway", network.ipv6_gateway},
          {"GlobalIPv6Address", network.ipv6_address},
          {"GlobalIPv6PrefixLen", network.ipv6_prefix_len},
          {"DNSNames", aliases}};
}

// Published ones have a list of bindings, exposed ones null.
ordered_json ports_object(const RuntimeFacts& facts) {
  ordered_json ports = ordered_json::object();
  for (const PortFacts& port : facts.ports) {
    ordered_json& list = ports[port_key(port)];
    if (port.host_port != 0) list.push_back(binding(port));
  }
  return ports;
}

}  // namespace

std::string network_mode(const ServiceSpec& spec, const RuntimeFacts& facts) {
  if (spec.runtime == RuntimeKind::process) return "host";
  if (!facts.shared_network.empty()) return "container:" + facts.shared_network;
  if (!spec.network_mode.empty()) return spec.network_mode;
  return facts.networks.empty() ? "none" : facts.networks[0].name;
}

ordered_json networks_object(const std::string& mode, const RuntimeFacts& facts) {
  ordered_json networks = ordered_json::object();
  for (const NetworkFacts& network : facts.networks) {
    networks[network.name] = network_object(network);
  }
  if (networks.empty() && (mode == "none" || mode == "host")) {
    networks[mode] = network_object(NetworkFacts{});
  }
  return networks;
}

ordered_json network_settings(const std::string& mode, const RuntimeFacts& facts) {
  const NetworkFacts first = facts.networks.empty() ? NetworkFacts{} : facts.networks[0];
  return {{"Bridge", ""},
          {"SandboxID", ""},
          {"SandboxKey", facts.sandbox_key},
          {"Ports", ports_object(facts)},
          {"HairpinMode", false},
          {"LinkLocalIPv6Address", ""},
          {"LinkLocalIPv6PrefixLen", 0},
          {"SecondaryIPAddresses", nullptr},
          {"SecondaryIPv6Addresses", nullptr},
          {"EndpointID", first.endpoint_id},
          {"Gateway", first.gateway},
          {"GlobalIPv6Address", first.ipv6_address},
          {"GlobalIPv6PrefixLen", first.ipv6_prefix_len},
          {"IPAddress", first.ip_address},
          {"IPPrefixLen", first.ip_prefix_len},
          {"IPv6Gateway", first.ipv6_gateway},
          {"MacAddress", first.mac_address},
          {"Networks", networks_object(mode, facts)}};
}

ordered_json ports_array(const RuntimeFacts& facts) {
  ordered_json ports = ordered_json::array();
  for (const PortFacts& port : facts.ports) {
    ordered_json entry = ordered_json::object();
    if (port.host_port != 0 && !port.host_ip.empty()) entry["IP"] = port.host_ip;
    entry["PrivatePort"] = port.container_port;
    if (port.host_port != 0) entry["PublicPort"] = port.host_port;
    entry["Type"] = port.protocol;
    ports.push_back(std::move(entry));
  }
  return ports;
}

ordered_json port_bindings(const RuntimeFacts& facts) {
  ordered_json bindings = ordered_json::object();
  for (const PortFacts& port : facts.ports) {
    if (port.host_port != 0) bindings[port_key(port)].push_back(binding(port));
  }
  return bindings;
}

ordered_json exposed_ports(const RuntimeFacts& facts) {
  ordered_json exposed = ordered_json::object();
  for (const PortFacts& port : facts.ports) exposed[port_key(port)] = ordered_json::object();
  return exposed;
}

ordered_json mounts_array(const RuntimeFacts& facts) {
  ordered_json mounts = ordered_json::array();
  for (const MountFacts& mount : facts.mounts) {
    ordered_json entry = {{"Type", mount.type}};
    if (!mount.name.empty()) entry["Name"] = mount.name;
    entry["Source"] = mount.source;
    entry["Destination"] = mount.destination;
    if (!mount.driver.empty()) entry["Driver"] = mount.driver;
    entry["Mode"] = mount.mode;
    entry["RW"] = mount.read_write;
    entry["Propagation"] = mount.propagation;
    mounts.push_back(std::move(entry));
  }
  return mounts;
}

ordered_json bind_list(const RuntimeFacts& facts) {
  ordered_json binds = nullptr;
  for (const MountFacts& mount : facts.mounts) {
    if (mount.type == "tmpfs") continue;
    std::string text =
        (mount.type == "volume" ? mount.name : mount.source) + ":" + mount.destination;
    if (!mount.mode.empty()) {
      text += ":" + mount.mode;
    } else if (!mount.read_write) {
      text += ":ro";
    }
    binds.push_back(std::move(text));
  }
  return binds;
}

}  // namespace keepwell
