// `ports` in both forms, and `expose`.
#include <algorithm>
#include <charconv>

#include "config/draft.h"
#include "config/ip_address.h"

namespace keepwell {
namespace {

// One file is not to make a million rules.
constexpr std::size_t kPortsMax = 4096;

struct Range {
  std::uint16_t first = 0, last = 0;
  int count() const { return last - first + 1; }
};

// "80" or "8000-8010"; none where that is no port.
std::optional<Range> parse_range(std::string_view text, std::uint16_t least) {
  auto number = [&](std::string_view part, std::uint16_t& out) {
    const char* end = part.data() + part.size();
    auto [stop, error] = std::from_chars(part.data(), end, out);
    return !part.empty() && error == std::errc{} && stop == end && out >= least;
  };
  Range range;
  const std::size_t dash = text.find('-');
  if (!number(text.substr(0, dash), range.first)) return std::nullopt;
  range.last = range.first;
  if (dash != std::string_view::npos && !number(text.substr(dash + 1), range.last)) {
    return std::nullopt;
  }
  if (range.last < range.first) return std::nullopt;
  return range;
}

// What one item of `ports` says, before ranges are spread.
struct PortDraft {
  std::string target, published, host_ip, protocol = "tcp";
};

void read_target(const Field& f, PortDraft& d) {
  read_text(f.context, "target of a port", f.value(), d.target);
}
void read_published(const Field& f, PortDraft& d) {
  read_text(f.context, "published of a port", f.value(), d.published);
}
void read_host_ip(const Field& f, PortDraft& d) {
  read_text(f.context, "host_ip of a port", f.value(), d.host_ip);
}
void read_protocol(const Field& f, PortDraft& d) {
  read_text(f.context, "protocol of a port", f.value(), d.protocol);
}
void ignore(const Field&, PortDraft&) {}  // words for people, and for a cluster

constexpr Key<PortDraft> kPortKeys[] = {
    {"target", read_target},   {"published", read_published},
    {"host_ip", read_host_ip}, {"protocol", read_protocol},
    {"mode", ignore},          {"name", ignore},
    {"app_protocol", ignore},
};

// [[HOST_IP:]HOST:]CONTAINER[/PROTOCOL]; HOST_IP may be [IPv6].
PortDraft split_short(std::string text) {
  PortDraft draft;
  if (std::size_t slash = text.rfind('/'); slash != std::string::npos) {
    draft.protocol = text.substr(slash + 1);
    text.erase(slash);
  }
  std::size_t colon = text.rfind(':');
  draft.target = colon == std::string::npos ? text : text.substr(colon + 1);
  if (colon == std::string::npos) return draft;
  text.erase(colon);
  colon = text.rfind(':');
  const bool bracketed = !text.empty() && text.back() == ']';
  if (bracketed || colon == std::string::npos) {
    (bracketed ? draft.host_ip : draft.published) = text;
  } else {
    draft.published = text.substr(colon + 1);
    draft.host_ip = text.substr(0, colon);
  }
  if (draft.host_ip.size() > 2 && draft.host_ip.front() == '[' && draft.host_ip.back() == ']') {
    draft.host_ip = draft.host_ip.substr(1, draft.host_ip.size() - 2);
  }
  return draft;
}

void add_ports(LoadContext& context, const Place& place, const std::string& whole, PortDraft draft,
               ServiceDraft& d) {
  auto wrong = [&](const std::string& text) {
    context.report.error(place, "port " + in_quotes(whole) + ": " + text);
  };
  std::optional<Range> target = parse_range(draft.target, 1);
  if (!target) {
    return wrong(in_quotes(draft.target) +
                 " is no port of the container; write HOST:CONTAINER, such as 8080:80");
  }
  std::optional<Range> published;
  if (!draft.published.empty()) {
    published = parse_range(draft.published, 0);
    if (!published)
      return wrong(in_quotes(draft.published) + " is no port of the host; write 1-65535");
    if (published->first == 0) published.reset();  // any
  }
  if (draft.protocol != "tcp" && draft.protocol != "udp") {
    return wrong("protocol " + in_quotes(draft.protocol) + " is not supported; write tcp or udp");
  }
  std::optional<IpAddress> host_ip;
  if (!draft.host_ip.empty()) {
    host_ip = parse_ip(draft.host_ip);
    if (!host_ip) return wrong(in_quotes(draft.host_ip) + " is no address of the host");
    if (*host_ip == IpAddress{}) host_ip.reset();  // 0.0.0.0: all
  }
  if (published && published->count() != target->count() && target->count() != 1) {
    return wrong("the ranges differ in length; write as many ports on either side");
  }
  if (d.spec.ports.size() + static_cast<std::size_t>(target->count()) > kPortsMax) {
    return wrong("more than " + std::to_string(kPortsMax) +
                 " ports are published; use network_mode: host");
  }
  for (int i = 0; i < target->count(); ++i) {
    PortSpec port;
    port.container_port = static_cast<std::uint16_t>(target->first + i);
    port.protocol = draft.protocol;
    if (host_ip) port.host_ip = to_string(*host_ip);
    if (published && target->count() == 1) {
      port.host_port = published->first;
      port.host_port_last = published->count() > 1 ? published->last : std::uint16_t{0};
    } else if (published) {
      port.host_port = static_cast<std::uint16_t>(published->first + i);
    }
    d.spec.ports.push_back(std::move(port));
    d.port_places.push_back(place);
  }
}

bool fixed(const PortSpec& port) { return port.host_port != 0 && port.host_port_last == 0; }

std::string port_text(const PortSpec& port) {
  return std::to_string(port.host_port) + "/" + port.protocol +
         (port.host_ip.empty() ? "" : " of " + port.host_ip);
}

}  // namespace

void read_ports(const Field& f, ServiceDraft& d) {
  if (f.value().is_null()) return;
  if (!f.value().is_sequence()) {
    f.error("ports must be a list, not " + std::string(kind_name(f.value())));
    return;
  }
  for (const Node& item : f.value().items) {
    if (item.is_mapping()) {
      PortDraft draft;
      read_map(f.context, item, "ports", kPortKeys, draft);
      const std::string whole = draft.published + ":" + draft.target;
      add_ports(f.context, item.place, whole, std::move(draft), d);
      continue;
    }
    std::string text;
    if (!read_text(f.context, "an item of ports", item, text)) continue;
    add_ports(f.context, item.place, text, split_short(text), d);
  }
}

void read_expose(const Field& f, ServiceDraft& d) {
  std::vector<std::string> items;
  if (!read_text_list(f.context, "expose", f.value(), items)) return;
  for (const Node& item : f.value().items) {
    const std::size_t slash = item.text.find('/');
    const std::string protocol = slash == std::string::npos ? "tcp" : item.text.substr(slash + 1);
    std::optional<Range> range = parse_range(std::string_view(item.text).substr(0, slash), 1);
    if (!range || (protocol != "tcp" && protocol != "udp")) {
      f.context.report.error(item.place, "expose: " + in_quotes(item.text) +
                                             " is no port; write 3000, 3000-3005 or 53/udp");
      continue;
    }
    for (int port = range->first; port <= range->last && d.spec.exposed_ports.size() < kPortsMax;
         ++port) {
      d.spec.exposed_ports.push_back(std::to_string(port) + "/" + protocol);
    }
  }
}

void check_host_ports(LoadContext& context, const std::vector<ServiceDraft>& drafts,
                      const std::vector<bool>& enabled) {
  struct Owner {
    const ServiceDraft* draft;
    std::string host_ip;
  };
  std::map<std::string, std::vector<Owner>> taken;  // by port and protocol
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    if (!enabled[i]) continue;
    const ServiceDraft& draft = drafts[i];
    for (std::size_t k = 0; k < draft.spec.ports.size(); ++k) {
      const PortSpec& port = draft.spec.ports[k];
      if (!fixed(port)) continue;
      if (draft.spec.scale > 1) {
        context.report.error(draft.port_places[k],
                             "port " + port_text(port) +
                                 " of the host can be of one container "
                                 "only, and scale is " +
                                 std::to_string(draft.spec.scale) +
                                 "; write a range, or the container's port alone");
        continue;
      }
      std::vector<Owner>& owners = taken[std::to_string(port.host_port) + "/" + port.protocol];
      const bool v6 = port.host_ip.find(':') != std::string::npos;
      for (const Owner& owner : owners) {
        const bool same = owner.host_ip == port.host_ip || (owner.host_ip.empty() && !v6) ||
                          (port.host_ip.empty() && owner.host_ip.find(':') == std::string::npos);
        if (!same) continue;
        context.report.error(draft.port_places[k], "port " + port_text(port) +
                                                       " of the host is taken by service " +
                                                       owner.draft->spec.name + "; choose another");
        break;
      }
      owners.push_back({&draft, port.host_ip});
    }
  }
}

}  // namespace keepwell
