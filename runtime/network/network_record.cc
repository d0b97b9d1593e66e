#include "runtime/network/network_record.h"

#include <nlohmann/json.hpp>

namespace keepwell {
namespace {

using Json = nlohmann::ordered_json;

Json endpoint_json(const Endpoint& e) {
  Json subnets = Json::array();
  for (const EndpointSubnet& s : e.subnets) {
    subnets.push_back({{"subnet", to_string(s.subnet)},
                       {"gateway", to_string(s.gateway)},
                       {"address", to_string(s.address)}});
  }
  return {{"key", e.key},       {"network", e.network},     {"network_id", e.network_id},
          {"bridge", e.bridge}, {"interface", e.interface}, {"internal", e.internal},
          {"mtu", e.mtu},       {"subnets", subnets},       {"mac_address", e.mac_address},
          {"names", e.names}};
}

Endpoint endpoint_of(const Json& json) {
  Endpoint e;
  json.at("key").get_to(e.key);
  json.at("network").get_to(e.network);
  json.at("network_id").get_to(e.network_id);
  json.at("bridge").get_to(e.bridge);
  json.at("interface").get_to(e.interface);
  json.at("internal").get_to(e.internal);
  json.at("mtu").get_to(e.mtu);
  json.at("mac_address").get_to(e.mac_address);
  json.at("names").get_to(e.names);
  for (const Json& item : json.at("subnets")) {
    auto subnet = parse_subnet(item.at("subnet").get<std::string>());
    auto gateway = parse_ip(item.at("gateway").get<std::string>());
    auto address = parse_ip(item.at("address").get<std::string>());
    if (!subnet || !gateway || !address) throw std::invalid_argument("an address is none");
    e.subnets.push_back({*subnet, *gateway, *address});
  }
  return e;
}

}  // namespace

std::string record_text(const NetworkRecord& record) {
  Json endpoints = Json::array(), ports = Json::array();
  for (const Endpoint& e : record.endpoints) endpoints.push_back(endpoint_json(e));
  for (const PublishedPort& p : record.ports) {
    ports.push_back({{"container_port", p.container_port},
                     {"protocol", p.protocol},
                     {"host_ip", p.host_ip},
                     {"host_port", p.host_port}});
  }
  return Json{{"id", record.id},
              {"name", record.name},
              {"shared_with", record.shared_with},
              {"endpoints", endpoints},
              {"ports", ports}}
      .dump(1);
}

Result<NetworkRecord> parse_record(const std::string& text) {
  try {
    const Json json = Json::parse(text);
    NetworkRecord record;
    json.at("id").get_to(record.id);
    json.at("name").get_to(record.name);
    json.at("shared_with").get_to(record.shared_with);
    for (const Json& item : json.at("endpoints")) record.endpoints.push_back(endpoint_of(item));
    for (const Json& item : json.at("ports")) {
      PublishedPort port;
      item.at("container_port").get_to(port.container_port);
      item.at("protocol").get_to(port.protocol);
      item.at("host_ip").get_to(port.host_ip);
      item.at("host_port").get_to(port.host_port);
      record.ports.push_back(std::move(port));
    }
    return record;
  } catch (const std::exception& e) {
    return fail(Errc::invalid,
                std::string("cannot read what a container has of networks: ") + e.what());
  }
}

}  // namespace keepwell
