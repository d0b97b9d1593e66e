// What inspect and list show of a container's networks and ports: what it has while it runs, else
// what the file gives it.
#pragma once

#include <map>
#include <set>
#include <string>

#include "config/spec.h"
#include "exporters/runtime_facts.h"
#include "runtime/network/network_record.h"

namespace keepwell {

// Sets networks, ports and addresses in FACTS, of container ID of SPEC, which is RUNNING or not.
// RECORD: what it has now; null: nothing. RUN_DIR is the scope of network_id(). Keeps no argument.
void add_network_facts(const ServiceSpec& spec, const std::string& id, const std::string& run_dir,
                       const NetworkRecord* record, bool running, RuntimeFacts& facts);

// The addresses that PROJECT gives its services, by name of network.
std::map<std::string, std::set<std::string>> fixed_addresses(const ProjectSpec& project);

}  // namespace keepwell
