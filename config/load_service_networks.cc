// The networks of a service: which it is on, by which names and addresses, or whose it shares.
#include <algorithm>
#include <map>
#include <set>

#include "config/draft.h"
#include "config/ip_address.h"

namespace keepwell {
namespace {

// AA:BB:CC:DD:EE:FF, and not of a group.
bool is_mac_address(std::string_view text) {
  if (text.size() != 17) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool digit = std::string_view("0123456789abcdefABCDEF").find(text[i]) != text.npos;
    if (i % 3 == 2 ? text[i] != ':' : !digit) return false;
  }
  return std::string_view("13579bdfBDF").find(text[1]) == text.npos;
}

void read_mac(const Field& f, std::string& out) {
  std::string text;
  if (!read_text(f.context, "mac_address", f.value(), text)) return;
  if (!is_mac_address(text)) {
    f.error("mac_address " + in_quotes(text) +
            " is none; write six pairs of hex digits, such as 02:42:ac:11:00:02");
    return;
  }
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
  out = std::move(text);
}

void read_aliases(const Field& f, NetworkUseDraft& d) {
  if (!read_text_list(f.context, "aliases", f.value(), d.use.aliases)) return;
  for (const Node& item : f.value().items) {
    if (item.text.empty() || item.text.size() > 253 ||
        item.text.find_first_of(" \t\r\n,/:") != std::string::npos) {
      f.context.report.error(item.place, "alias " + in_quotes(item.text) + " is no host name");
    }
  }
}

void read_address(const Field& f, bool v6, std::string& out, Place& place) {
  std::string text;
  if (!read_text(f.context, f.name(), f.value(), text)) return;
  place = f.value().place;
  std::optional<IpAddress> address = parse_ip(text);
  if (!address || address->v6 != v6) {
    f.error(f.name() + " " + in_quotes(text) + " is no address of IP version " + (v6 ? "6" : "4"));
    return;
  }
  out = to_string(*address);
}
void read_ipv4_address(const Field& f, NetworkUseDraft& d) {
  read_address(f, false, d.use.ipv4_address, d.ipv4_place);
}
void read_ipv6_address(const Field& f, NetworkUseDraft& d) {
  read_address(f, true, d.use.ipv6_address, d.ipv6_place);
}
void read_use_mac(const Field& f, NetworkUseDraft& d) { read_mac(f, d.use.mac_address); }
void read_priority(const Field& f, NetworkUseDraft& d) {
  read_integer(f.context, f.name(), f.value(), -1'000'000, 1'000'000, d.use.priority);
}

constexpr Key<NetworkUseDraft> kUseKeys[] = {
    {"aliases", read_aliases},
    {"ipv4_address", read_ipv4_address},
    {"ipv6_address", read_ipv6_address},
    {"mac_address", read_use_mac},
    {"priority", read_priority},
    {"gw_priority", read_priority},
    {"link_local_ips", nullptr, "use ipv4_address or ipv6_address"},
    {"driver_opts", nullptr, "nothing can be set for one service; remove it"},
    {"interface_name", nullptr, "interfaces are eth0, eth1 and so on; use priority"},
};

// Where ADDRESS of DRAFT may not be; empty: fine.
std::string address_fault(const NetworkUseDraft& draft, const std::string& text) {
  const NetworkSpec& network = draft.use.network;
  const IpAddress address = *parse_ip(text);
  bool any = false;
  std::string subnets;
  for (const SubnetSpec& one : network.subnets) {
    std::optional<Subnet> subnet = parse_subnet(one.subnet);
    if (!subnet || subnet->base.v6 != address.v6) continue;
    any = true;
    subnets += (subnets.empty() ? "" : ", ") + one.subnet;
    if (!contains(*subnet, address)) continue;
    const std::string gateway =
        one.gateway.empty() ? to_string(plus(subnet->base, 1)) : one.gateway;
    if (text == gateway) return text + " is the gateway of network " + network.key;
    if (address == subnet->base || (!address.v6 && address == last_of(*subnet))) {
      return text + " is no host's address in subnet " + one.subnet;
    }
    return {};
  }
  if (any) return text + " is outside subnet " + subnets + " of network " + network.key;
  return text + " needs a subnet of its own choice: write networks." + network.key +
         ".ipam.config: [{subnet: " + to_string(subnet_of(address, address.v6 ? 64 : 24)) +
         "}] at the top of the file";
}

void check_use(LoadContext& context, const ServiceDraft& d, const NetworkUseDraft& use) {
  for (const auto& [text, place] : {std::pair(use.use.ipv4_address, use.ipv4_place),
                                    std::pair(use.use.ipv6_address, use.ipv6_place)}) {
    if (text.empty()) continue;
    if (std::string fault = address_fault(use, text); !fault.empty()) {
      context.report.error(place, "address " + fault);
    } else if (d.spec.scale > 1) {
      context.report.error(place, "address " + text +
                                      " can be of one container only, and scale is " +
                                      std::to_string(d.spec.scale) + "; remove one of them");
    }
  }
}

bool add_network(LoadContext& context, ServiceDraft& d, NetworkUseDraft use,
                 const std::string& key) {
  const auto& known = context.resources.networks;
  auto found = known.find(key);
  if (found == known.end()) {
    std::vector<std::string_view> names;
    for (const auto& [name, network] : known) names.push_back(name);
    const std::string_view near = nearest_name(key, names);
    context.report.error(
        use.place, "network " + in_quotes(key) + " is not in the file's networks; " +
                       (near.empty() ? "add it there" : "did you mean " + std::string(near) + "?"));
    return false;
  }
  use.use.network = found->second.spec;
  d.networks.push_back(std::move(use));
  return true;
}

void check_mode(LoadContext& context, const ServiceDraft& d) {
  const std::string& mode = d.spec.network_mode;
  const Place place = d.place_of(d.has("network_mode") ? "network_mode" : "ports");
  if (d.has("networks")) {
    context.report.error(place, "network_mode and networks exclude each other; remove one of them");
  }
  if (!d.spec.ports.empty()) {
    context.report.error(
        d.place_of("ports"),
        mode == "host" ? "with network_mode: host the service's ports are the host's; remove ports"
        : mode == "none"
            ? "with network_mode: none nothing can be published; remove one of them"
            : "the ports of a network that is shared belong to the service whose it is; write "
              "them there");
  }
  if (!d.mac_address.empty()) {
    context.report.error(
        d.place_of("mac_address"),
        "mac_address has nothing to be of with network_mode: " + mode + "; remove one of them");
  }
}

class NetworkCheck {
 public:
  NetworkCheck(LoadContext& context, std::vector<ServiceDraft>& drafts,
               const std::vector<bool>& enabled)
      : context_(context), drafts_(drafts), enabled_(enabled) {}

  void run() {
    for (ServiceDraft& draft : drafts_) {
      if (!draft.network_of.empty()) resolve(draft);
    }
    for (std::size_t i = 0; i < drafts_.size(); ++i) {
      if (enabled_[i]) check_addresses(drafts_[i]);
    }
  }

 private:
  // The service that `service:NAME` or `container:NAME` means; null, and reported.
  const ServiceDraft* target_of(const ServiceDraft& draft) {
    const std::size_t colon = draft.network_of.find(':');
    const bool by_service = draft.network_of.compare(0, colon, "service") == 0;
    const std::string name = draft.network_of.substr(colon + 1);
    std::vector<std::string_view> names;
    for (const ServiceDraft& other : drafts_) {
      if (other.spec.name == name && (by_service || other.spec.container_name.empty())) {
        return &other;
      }
      const std::string composed = context_.project_name + "-" + other.spec.name + "-1";
      if (!by_service &&
          name == (other.spec.container_name.empty() ? composed : other.spec.container_name)) {
        return &other;
      }
      names.push_back(other.spec.name);
    }
    const std::string_view near = nearest_name(name, names);
    context_.report.error(draft.place_of("network_mode"),
                          "network_mode names " + in_quotes(name) + ", " +
                              (by_service ? "a service which this file does not have; "
                                          : "a container which this file does not make; ") +
                              (near.empty() ? "write service:NAME with a service of this file"
                                            : "did you mean service:" + std::string(near) + "?"));
    return nullptr;
  }

  void resolve(ServiceDraft& draft) {
    const ServiceDraft* target = target_of(draft);
    if (target == nullptr) return;
    const Place place = draft.place_of("network_mode");
    if (target == &draft) {
      context_.report.error(place, "service " + draft.spec.name +
                                       " cannot be in its own network; name another service");
      return;
    }
    if (!target->network_of.empty()) {
      context_.report.error(place, "service " + target->spec.name +
                                       " has no network of its own, but that of another; name that "
                                       "one");
      return;
    }
    if (target->spec.scale > 1) {
      context_.report.error(place, "service " + target->spec.name + " has " +
                                       std::to_string(target->spec.scale) +
                                       " containers, and it is not said whose network is meant; "
                                       "name one with scale: 1");
      return;
    }
    draft.spec.network_mode = "service:" + target->spec.name;
    depend_on(draft, target->spec.name, place);
  }

  // What shares a network follows it: it is started after it, and again when it is.
  static void depend_on(ServiceDraft& draft, const std::string& name, const Place& place) {
    for (Dependency& dependency : draft.spec.depends_on) {
      if (dependency.service != name) continue;
      dependency.restart = true;
      dependency.required = true;
      return;
    }
    Dependency dependency;
    dependency.service = name;
    dependency.restart = true;
    draft.spec.depends_on.push_back(std::move(dependency));
    draft.dependency_places.push_back(place);
  }

  void check_addresses(const ServiceDraft& draft) {
    for (const NetworkUseDraft& use : draft.networks) {
      for (const auto& [text, place] : {std::pair(use.use.ipv4_address, use.ipv4_place),
                                        std::pair(use.use.ipv6_address, use.ipv6_place)}) {
        if (text.empty()) continue;
        auto [other, fresh] =
            addresses_.try_emplace(use.use.network.key + " " + text, draft.spec.name);
        if (fresh) continue;
        context_.report.error(place, "address " + text + " is taken by service " + other->second +
                                         "; choose another");
      }
    }
  }

  LoadContext& context_;
  std::vector<ServiceDraft>& drafts_;
  const std::vector<bool>& enabled_;
  std::map<std::string, std::string> addresses_;
};

bool read_mode(const Field& f, std::string_view what, bool shared, std::string& out) {
  std::string mode;
  if (!read_text(f.context, what, f.value(), mode)) return false;
  const bool of_another = mode.rfind("service:", 0) == 0 || mode.rfind("container:", 0) == 0;
  if (mode == "none" || mode == "host" || mode == "bridge" || mode == "default" ||
      (shared && of_another)) {
    out = std::move(mode);
    return true;
  }
  constexpr std::string_view kModes[] = {"none", "host", "bridge", "service:NAME",
                                         "container:NAME"};
  std::size_t ignored = 0;
  read_choice(f.context, what, f.value(), std::span(kModes).first(shared ? 5 : 3), ignored);
  return false;
}

}  // namespace

void read_networks(const Field& f, ServiceDraft& d) {
  if (f.value().is_null()) return;
  if (f.value().is_sequence()) {
    std::set<std::string> seen;
    for (const Node& item : f.value().items) {
      std::string key;
      if (!read_text(f.context, "an item of networks", item, key)) continue;
      if (!seen.insert(key).second) {
        f.context.report.error(
            item.place, "networks names " + in_quotes(key) + " a second time; keep one of them");
        continue;
      }
      NetworkUseDraft use;
      use.place = item.place;
      add_network(f.context, d, std::move(use), key);
    }
    return;
  }
  if (!f.value().is_mapping()) {
    f.error("networks must be a list of networks or a map, not " +
            std::string(kind_name(f.value())));
    return;
  }
  for (const Entry& entry : f.value().entries) {
    NetworkUseDraft use;
    use.place = entry.key_place;
    if (!entry.value.is_null()) {
      read_map(f.context, entry.value, "networks." + entry.key, kUseKeys, use);
    }
    add_network(f.context, d, std::move(use), entry.key);
  }
}

void read_network_mode(const Field& f, ServiceDraft& d) {
  std::string mode;
  if (!read_mode(f, "network_mode", true, mode)) return;
  if (mode.find(':') != std::string::npos) {
    d.network_of = mode;
    d.spec.network_mode = mode;
  } else if (mode == "none" || mode == "host") {
    d.spec.network_mode = mode;
  }
}

void read_mac_address(const Field& f, ServiceDraft& d) { read_mac(f, d.mac_address); }

void read_default_network_mode(const Field& f, Defaults& defaults) {
  std::string mode;
  if (read_mode(f, "defaults.network_mode", false, mode) && (mode == "none" || mode == "host")) {
    defaults.network_mode = mode;
  }
}

void finish_networks(LoadContext& context, ServiceDraft& d) {
  ServiceSpec& spec = d.spec;
  if (spec.runtime != RuntimeKind::oci) {
    spec.ports.clear();
    d.port_places.clear();
    d.networks.clear();
    d.network_of.clear();
    if (spec.network_mode != "host") spec.network_mode.clear();
    return;
  }
  const bool silent =
      !d.has("networks") && !d.has("network_mode") && spec.ports.empty() && d.mac_address.empty();
  if (silent && context.defaults) spec.network_mode = context.defaults->network_mode;
  if (!spec.network_mode.empty()) {
    check_mode(context, d);
    return;
  }
  spec.networks_implicit = silent;
  if (d.networks.empty() && d.has("network_mode") && d.has("networks")) check_mode(context, d);
  if (d.networks.empty() && (!d.has("networks") || d.entry->value.find("networks")->is_null())) {
    NetworkUseDraft use;
    use.place = d.entry->key_place;
    add_network(context, d, std::move(use), kDefaultNetworkKey);
  }
  std::stable_sort(d.networks.begin(), d.networks.end(),
                   [](const auto& a, const auto& b) { return a.use.priority > b.use.priority; });
  if (!d.mac_address.empty() && !d.networks.empty() && d.networks[0].use.mac_address.empty()) {
    d.networks[0].use.mac_address = d.mac_address;
  }
  bool reached = false;
  for (const NetworkUseDraft& use : d.networks) {
    reached = reached || !use.use.network.internal;
    check_use(context, d, use);
    if (!use.use.mac_address.empty() && spec.scale > 1) {
      context.report.error(use.place, "mac_address can be of one container only, and scale is " +
                                          std::to_string(spec.scale) + "; remove one of them");
    }
    spec.networks.push_back(use.use);
  }
  if (!reached && !spec.ports.empty() && !spec.networks.empty()) {
    context.report.warning(d.place_of("ports"),
                           "ports have no effect on internal networks; remove one of them");
  }
}

void check_networks(LoadContext& context, std::vector<ServiceDraft>& drafts,
                    const std::vector<std::string>& profiles) {
  std::vector<bool> enabled;
  for (const ServiceDraft& draft : drafts) enabled.push_back(is_enabled(draft.spec, profiles));
  NetworkCheck(context, drafts, enabled).run();
  check_host_ports(context, drafts, enabled);
}

}  // namespace keepwell
