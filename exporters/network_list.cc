#include "exporters/network_list.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "config/ip_address.h"
#include "exporters/health_json.h"
#include "exporters/time_text.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

std::string subnet_text(const std::string& address, int prefix) {
  std::optional<IpAddress> parsed = parse_ip(address);
  return parsed ? to_string(subnet_of(*parsed, prefix)) : std::string();
}

// What is in use, else what the file says.
ordered_json ipam_config(const NetworkView& view) {
  ordered_json config = ordered_json::array();
  for (const SubnetSpec& subnet : view.spec.subnets) {
    ordered_json one = {{"Subnet", subnet.subnet}};
    if (!subnet.ip_range.empty()) one["IPRange"] = subnet.ip_range;
    std::optional<Subnet> parsed = parse_subnet(subnet.subnet);
    one["Gateway"] =
        subnet.gateway.empty() && parsed ? to_string(plus(parsed->base, 1)) : subnet.gateway;
    config.push_back(std::move(one));
  }
  if (view.members.empty()) return config;
  const NetworkFacts& facts = view.members.front().facts;
  auto add = [&](const std::string& address, int prefix, const std::string& gateway) {
    const std::string subnet = address.empty() ? std::string() : subnet_text(address, prefix);
    const bool known = std::any_of(config.begin(), config.end(), [&](const ordered_json& one) {
      return one["Subnet"] == subnet;
    });
    if (!subnet.empty() && !known) config.push_back({{"Subnet", subnet}, {"Gateway", gateway}});
  };
  add(facts.ip_address, facts.ip_prefix_len, facts.gateway);
  add(facts.ipv6_address, facts.ipv6_prefix_len, facts.ipv6_gateway);
  return config;
}

std::map<std::string, std::string> labels_of(const NetworkView& view) {
  std::map<std::string, std::string> labels = view.spec.labels;
  labels.emplace("com.docker.compose.network", view.spec.key);
  labels.emplace("com.docker.compose.project", view.project);
  return labels;
}

ordered_json members_object(const NetworkView& view) {
  ordered_json members = ordered_json::object();
  for (const NetworkView::Member& member : view.members) {
    const NetworkFacts& f = member.facts;
    auto with_prefix = [](const std::string& address, int prefix) {
      return address.empty() ? address : address + "/" + std::to_string(prefix);
    };
    members[member.id] = {{"Name", member.name},
                          {"EndpointID", f.endpoint_id},
                          {"MacAddress", f.mac_address},
                          {"IPv4Address", with_prefix(f.ip_address, f.ip_prefix_len)},
                          {"IPv6Address", with_prefix(f.ipv6_address, f.ipv6_prefix_len)}};
  }
  return members;
}

ordered_json network_object(const NetworkView& view, bool with_members) {
  ordered_json options = ordered_json::object();
  if (view.spec.mtu != 0) options["com.docker.network.driver.mtu"] = std::to_string(view.spec.mtu);
  return {{"Name", view.spec.name},
          {"Id", view.id},
          {"Created", rfc3339_nano(view.created)},
          {"Scope", "local"},
          {"Driver", "bridge"},
          {"EnableIPv4", true},
          {"EnableIPv6", view.spec.ipv6},
          {"IPAM", {{"Driver", "default"}, {"Options", nullptr}, {"Config", ipam_config(view)}}},
          {"Internal", view.spec.internal},
          {"Attachable", false},
          {"Ingress", false},
          {"ConfigFrom", {{"Network", ""}}},
          {"ConfigOnly", false},
          {"Containers", with_members ? members_object(view) : ordered_json::object()},
          {"Options", options},
          {"Labels", labels_of(view)}};
}

bool any_of(const std::vector<std::string>& wanted, const auto& matches) {
  return wanted.empty() || std::any_of(wanted.begin(), wanted.end(), matches);
}

}  // namespace

std::vector<NetworkView> network_views(std::span<const NetworkMember> containers) {
  std::map<std::string, NetworkView> views;
  for (const NetworkMember& member : containers) {
    const ContainerStatus& c = *member.container;
    for (const NetworkUse& use : c.spec->networks) {
      auto facts = std::find_if(member.networks.begin(), member.networks.end(),
                                [&](const NetworkFacts& f) { return f.name == use.network.name; });
      if (facts == member.networks.end()) continue;
      auto [view, fresh] = views.try_emplace(use.network.name);
      NetworkView& v = view->second;
      if (fresh) v = {use.network, facts->network_id, c.project, c.created, {}};
      v.created = std::min(v.created, c.created);
      if (!facts->mac_address.empty()) v.members.push_back({c.id, c.name, *facts});
    }
  }
  std::vector<NetworkView> sorted;
  for (auto& [name, view] : views) sorted.push_back(std::move(view));
  return sorted;
}

Result<const NetworkView*> find_network(std::span<const NetworkView> views, std::string_view name) {
  const NetworkView* found = nullptr;
  for (const NetworkView& view : views) {
    if (view.spec.name == name || view.id == name) return &view;
    if (name.empty() || !view.id.starts_with(name)) continue;
    if (found != nullptr) {
      return fail(Errc::invalid,
                  "network " + std::string(name) + " is ambiguous (2 matches found)");
    }
    found = &view;
  }
  if (found != nullptr) return found;
  return fail(Errc::not_found, "network " + std::string(name) + " not found");
}

Result<std::vector<const NetworkView*>> select_networks(std::span<const NetworkView> views,
                                                        const Filters& filters) {
  constexpr std::string_view kKeys[] = {"dangling", "driver", "id",  "label",
                                        "name",     "scope",  "type"};
  for (const auto& [key, values] : filters.values) {
    if (std::find(std::begin(kKeys), std::end(kKeys), key) == std::end(kKeys)) {
      return fail(Errc::invalid, "invalid filter '" + key + "'");
    }
  }
  std::vector<const NetworkView*> selected;
  for (const NetworkView& view : views) {
    const bool in =
        any_of(filters.of("driver"), [](const std::string& v) { return v == "bridge"; }) &&
        any_of(filters.of("scope"), [](const std::string& v) { return v == "local"; }) &&
        any_of(filters.of("type"), [](const std::string& v) { return v == "custom"; }) &&
        any_of(filters.of("dangling"),
               [&](const std::string& v) {
                 return (v == "1" || v == "true") == view.members.empty();
               }) &&
        any_of(filters.of("id"),
               [&](const std::string& v) { return view.id.find(v) != std::string::npos; }) &&
        any_of(filters.of("name"),
               [&](const std::string& v) { return view.spec.name.find(v) != std::string::npos; }) &&
        labels_match(labels_of(view), filters.of("label"));
    if (in) selected.push_back(&view);
  }
  return selected;
}

std::string network_list_json(std::span<const NetworkView* const> views) {
  ordered_json list = ordered_json::array();
  for (const NetworkView* view : views) list.push_back(network_object(*view, false));
  return json_text(list);
}

std::string network_inspect_json(const NetworkView& view) {
  return json_text(network_object(view, true));
}

}  // namespace keepwell
