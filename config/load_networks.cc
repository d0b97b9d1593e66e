// The file's own `networks`: what a service's networks name.
#include <algorithm>

#include "config/draft.h"
#include "config/ip_address.h"

namespace keepwell {
namespace {

struct DefinitionDraft {
  NetworkSpec spec;
  bool name_given = false;
};

void read_network_name(const Field& f, DefinitionDraft& d) {
  if (!read_text(f.context, "name of a network", f.value(), d.spec.name)) return;
  d.name_given = true;
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  const std::string& name = d.spec.name;
  if (name.empty() || name.size() > 200 || name.find_first_not_of(kLetters) != std::string::npos ||
      kLetters.find(name.front()) >= kLetters.find('_')) {
    f.error("network name " + in_quotes(name) +
            " cannot be used; write letters, digits, _ . or -, a letter or digit first");
  }
}

void read_driver(const Field& f, DefinitionDraft&) {
  std::string driver;
  if (!read_text(f.context, "driver of a network", f.value(), driver)) return;
  if (!driver.empty() && driver != "bridge" && driver != "default") {
    f.context.report.unsupported(
        f.value().place, "network driver " + in_quotes(driver) +
                             " is not supported; use bridge, or network_mode: host or none in the "
                             "services");
  }
}

// The name of an interface of our own, and its frames' size; what else Docker knows has no effect.
void read_driver_opts(const Field& f, DefinitionDraft& d) {
  if (!expect_map(f.context, f.value(), "driver_opts")) return;
  for (const Entry& entry : f.value().entries) {
    std::string text;
    if (entry.key == "com.docker.network.driver.mtu" || entry.key == "mtu") {
      read_integer(f.context, entry.key, entry.value, 68, 65535, d.spec.mtu);
    } else if (entry.key == "com.docker.network.bridge.name") {
      if (!read_text(f.context, entry.key, entry.value, text)) continue;
      if (text.empty() || text.size() > 15 || text.find_first_of("/: \t") != std::string::npos) {
        f.context.report.error(entry.value.place,
                               in_quotes(text) +
                                   " is no name of an interface; write up to 15 letters "
                                   "and digits");
      } else {
        d.spec.bridge = text;
      }
    } else {
      f.context.report.warning(entry.key_place, "driver_opts." + entry.key +
                                                    " has no effect on networks of keepwell; "
                                                    "remove it");
    }
  }
}

void read_internal(const Field& f, DefinitionDraft& d) {
  read_bool(f.context, "internal", f.value(), d.spec.internal);
}
void read_enable_ipv6(const Field& f, DefinitionDraft& d) {
  read_bool(f.context, "enable_ipv6", f.value(), d.spec.ipv6);
}
void read_enable_ipv4(const Field& f, DefinitionDraft&) {
  bool on = true;
  if (!read_bool(f.context, "enable_ipv4", f.value(), on) || on) return;
  f.context.report.unsupported(f.value().place, "enable_ipv4: false is not supported; remove it");
}
void read_attachable(const Field& f, DefinitionDraft&) {
  bool any = false;
  read_bool(f.context, "attachable", f.value(), any);  // nobody else can attach to ours
}
void read_external(const Field& f, DefinitionDraft&) {
  bool external = f.value().is_mapping();  // the old form: {name: x}
  if (!external && !read_bool(f.context, "external", f.value(), external)) return;
  if (!external) return;
  f.context.report.unsupported(
      f.value().place,
      "external networks are not supported, keepwell gives out the addresses of its own only; "
      "remove external, or use network_mode: host");
}

void read_labels(const Field& f, DefinitionDraft& d) {
  std::vector<NamedValue> labels;
  if (!read_named_values(f.context, "labels", f.value(), labels)) return;
  for (NamedValue& label : labels) d.spec.labels[label.name] = label.value.value_or("");
}

// ---- ipam

struct IpamDraft {
  SubnetSpec spec;
  Place subnet_place, gateway_place, range_place;
};

void read_subnet(const Field& f, IpamDraft& d) {
  std::string text;
  if (!read_text(f.context, "subnet", f.value(), text)) return;
  d.subnet_place = f.value().place;
  std::optional<Subnet> subnet = parse_subnet(text);
  if (!subnet || subnet->prefix == 0) {
    f.error("subnet " + in_quotes(text) + " is none; write ADDRESS/BITS, such as 10.5.0.0/24");
  } else if (subnet->base.bits() - subnet->prefix < 2) {
    f.error("subnet " + in_quotes(text) + " has no room for containers; write /" +
            std::to_string(subnet->base.bits() - 2) + " or less");
  } else {
    d.spec.subnet = to_string(*subnet);
  }
}
void read_gateway(const Field& f, IpamDraft& d) {
  std::string text;
  if (!read_text(f.context, "gateway", f.value(), text)) return;
  d.gateway_place = f.value().place;
  std::optional<IpAddress> address = parse_ip(text);
  if (!address) {
    f.error("gateway " + in_quotes(text) + " is no address");
  } else {
    d.spec.gateway = to_string(*address);
  }
}
void read_ip_range(const Field& f, IpamDraft& d) {
  std::string text;
  if (!read_text(f.context, "ip_range", f.value(), text)) return;
  d.range_place = f.value().place;
  std::optional<Subnet> range = parse_subnet(text);
  if (!range) {
    f.error("ip_range " + in_quotes(text) + " is none; write ADDRESS/BITS, such as 10.5.0.128/25");
  } else {
    d.spec.ip_range = to_string(*range);
  }
}

constexpr std::string_view kGiveAddresses =
    "give the services their addresses with ipv4_address instead";
constexpr Key<IpamDraft> kConfigKeys[] = {{"subnet", read_subnet},
                                          {"gateway", read_gateway},
                                          {"ip_range", read_ip_range},
                                          {"aux_addresses", nullptr, kGiveAddresses}};

void check_ipam(LoadContext& context, const Node& node, const IpamDraft& d, NetworkSpec& network) {
  std::optional<Subnet> subnet = parse_subnet(d.spec.subnet);
  if (!subnet) {
    if (d.subnet_place == Place{}) {
      context.report.error(node.place,
                           "an item of ipam.config has no subnet; write subnet: "
                           "10.5.0.0/24 or the like");
    }
    return;
  }
  std::optional<IpAddress> gateway = parse_ip(d.spec.gateway);
  if (gateway && (!contains(*subnet, *gateway) || *gateway == subnet->base)) {
    context.report.error(d.gateway_place, "gateway " + d.spec.gateway + " is outside subnet " +
                                              d.spec.subnet + "; write " +
                                              to_string(plus(subnet->base, 1)) + " or remove it");
  }
  std::optional<Subnet> range = parse_subnet(d.spec.ip_range);
  if (range && (!contains(*subnet, range->base) || range->prefix < subnet->prefix)) {
    context.report.error(d.range_place, "ip_range " + d.spec.ip_range + " is outside subnet " +
                                            d.spec.subnet + "; choose a part of it");
  }
  for (const SubnetSpec& other : network.subnets) {
    if (std::optional<Subnet> one = parse_subnet(other.subnet); one && overlap(*one, *subnet)) {
      context.report.error(d.subnet_place, "subnet " + d.spec.subnet + " overlaps " + other.subnet +
                                               " of the same network; keep one");
    }
  }
  if (subnet->base.v6) network.ipv6 = true;
  network.subnets.push_back(d.spec);
}

void read_ipam_driver(const Field& f, DefinitionDraft&) {
  std::string driver;
  if (!read_text(f.context, "ipam.driver", f.value(), driver)) return;
  if (!driver.empty() && driver != "default") {
    f.context.report.unsupported(
        f.value().place, "ipam.driver " + in_quotes(driver) + " is not supported; remove it");
  }
}
void read_ipam_config(const Field& f, DefinitionDraft& d) {
  if (f.value().is_null()) return;
  if (!f.value().is_sequence()) {
    f.error("ipam.config must be a list, not " + std::string(kind_name(f.value())));
    return;
  }
  for (const Node& item : f.value().items) {
    IpamDraft draft;
    read_map(f.context, item, "ipam.config", kConfigKeys, draft);
    if (item.is_mapping()) check_ipam(f.context, item, draft, d.spec);
  }
}
constexpr Key<DefinitionDraft> kIpamKeys[] = {
    {"driver", read_ipam_driver},
    {"config", read_ipam_config},
    {"options", nullptr, "keepwell gives out the addresses itself; remove it"}};

void read_ipam(const Field& f, DefinitionDraft& d) {
  if (!f.value().is_null()) read_map(f.context, f.value(), "ipam", kIpamKeys, d);
}

constexpr Key<DefinitionDraft> kDefinitionKeys[] = {
    {"name", read_network_name},       {"driver", read_driver},
    {"driver_opts", read_driver_opts}, {"internal", read_internal},
    {"enable_ipv6", read_enable_ipv6}, {"enable_ipv4", read_enable_ipv4},
    {"attachable", read_attachable},   {"external", read_external},
    {"labels", read_labels},           {"ipam", read_ipam},
};

// Two networks of the file on one subnet, or under one name.
void check_against_others(LoadContext& context, const NetworkDefinition& one) {
  for (const auto& [key, other] : context.resources.networks) {
    if (other.spec.name == one.spec.name) {
      context.report.error(one.place, "networks " + key + " and " + one.spec.key +
                                          " have one name, " + in_quotes(one.spec.name) +
                                          "; choose another");
    }
    for (const SubnetSpec& a : one.spec.subnets) {
      for (const SubnetSpec& b : other.spec.subnets) {
        std::optional<Subnet> left = parse_subnet(a.subnet), right = parse_subnet(b.subnet);
        if (left && right && overlap(*left, *right)) {
          context.report.error(one.place, "subnet " + a.subnet + " of network " + one.spec.key +
                                              " overlaps " + b.subnet + " of network " + key +
                                              "; choose another");
        }
      }
    }
  }
}

}  // namespace

void read_network_definitions(LoadContext& context, const Node& root) {
  auto add = [&](const Entry* entry, const std::string& key) {
    DefinitionDraft draft;
    draft.spec.key = key;
    if (entry != nullptr && !entry->value.is_null()) {
      read_map(context, entry->value, "network " + key, kDefinitionKeys, draft);
    }
    if (!draft.name_given) draft.spec.name = context.project_name + "_" + key;
    NetworkDefinition definition{entry != nullptr ? entry->key_place : Place{},
                                 std::move(draft.spec)};
    check_against_others(context, definition);
    context.resources.networks[key] = std::move(definition);
  };
  const Node* node = root.find("networks");
  if (node != nullptr && !node->is_null() && expect_map(context, *node, "networks")) {
    for (const Entry& entry : node->entries) add(&entry, entry.key);
  }
  if (!context.resources.networks.contains(kDefaultNetworkKey)) add(nullptr, kDefaultNetworkKey);
}

}  // namespace keepwell
