// GET /networks and /networks/{id}: the networks that containers are on, as Docker shows them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "exporters/container_status.h"
#include "exporters/filters.h"
#include "exporters/runtime_facts.h"

namespace keepwell {

// A container with what is known of its networks.
struct NetworkMember {
  const ContainerStatus* container = nullptr;
  std::vector<NetworkFacts> networks;
};

// One network of the project, by the containers that are or would be on it.
struct NetworkView {
  NetworkSpec spec;
  std::string id;
  std::string project;
  WallTime created{};  // the first container's
  struct Member {
    std::string id, name;
    NetworkFacts facts;
  };
  std::vector<Member> members;  // those that run
};

// All of them, by name.
std::vector<NetworkView> network_views(std::span<const NetworkMember> containers);

// By name, id or unique beginning of the id. Errc::not_found in Docker's words.
Result<const NetworkView*> find_network(std::span<const NetworkView> views, std::string_view name);

// Those that FILTERS (driver, id, label, name, scope, type, dangling) leave in. Errc::invalid for
// others.
Result<std::vector<const NetworkView*>> select_networks(std::span<const NetworkView> views,
                                                        const Filters& filters);

std::string network_list_json(std::span<const NetworkView* const> views);
// With the containers on it.
std::string network_inspect_json(const NetworkView& view);

}  // namespace keepwell
