// The parts of inspect and list that speak of networks, ports and mounts.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "config/spec.h"
#include "exporters/runtime_facts.h"

namespace keepwell {

// HostConfig.NetworkMode: the first network's name, else network_mode, else "none"; "host" for a
// host process.
std::string network_mode(const ServiceSpec& spec, const RuntimeFacts& facts);

nlohmann::ordered_json network_settings(const std::string& mode, const RuntimeFacts& facts);
nlohmann::ordered_json networks_object(const std::string& mode, const RuntimeFacts& facts);

nlohmann::ordered_json ports_array(const RuntimeFacts& facts);    // list entry
nlohmann::ordered_json port_bindings(const RuntimeFacts& facts);  // HostConfig.PortBindings
nlohmann::ordered_json exposed_ports(const RuntimeFacts& facts);  // Config.ExposedPorts

nlohmann::ordered_json mounts_array(const RuntimeFacts& facts);
nlohmann::ordered_json bind_list(const RuntimeFacts& facts);  // HostConfig.Binds

}  // namespace keepwell
