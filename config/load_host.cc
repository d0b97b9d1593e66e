// How much of the host a container sees: names, name servers, namespaces, kernel settings, devices,
// groups.
#include <algorithm>
#include <cctype>
#include <charconv>

#include "config/draft.h"
#include "config/ip_address.h"
#include "config/paths.h"

namespace keepwell {
namespace {

constexpr std::string_view kNameLetters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

bool is_host_name(std::string_view name) {
  return !name.empty() && name.size() <= 253 &&
         name.find_first_not_of(kNameLetters) == std::string::npos;
}

bool is_address(const std::string& text) { return parse_ip(text).has_value(); }

void add_host(LoadContext& context, const Place& place, std::string name, std::string address,
              ServiceDraft& d) {
  if (address.size() > 2 && address.front() == '[' && address.back() == ']') {
    address = address.substr(1, address.size() - 2);
  }
  if (!is_host_name(name)) {
    context.report.error(place, "extra_hosts: " + in_quotes(name) + " is no host name");
  } else if (address == "host-gateway") {
    const Node* node = d.entry->value.find("network_mode");
    const std::string mode = node != nullptr ? node->text : std::string();
    if (mode == "none" || mode.find(':') != std::string::npos) {
      context.report.unsupported(place,
                                 "extra_hosts with host-gateway needs a bridge between container "
                                 "and host, which there is none of with network_mode: " +
                                     mode + "; remove one of them");
      return;
    }
    // A bridge's own address is known once it is there.
    d.spec.extra_hosts.emplace_back(std::move(name), mode == "host" ? "127.0.0.1" : kHostGateway);
  } else if (!is_address(address)) {
    context.report.error(place, "extra_hosts: " + in_quotes(address) +
                                    " is no address; write NAME=ADDRESS, such as db=10.0.0.5");
  } else {
    d.spec.extra_hosts.emplace_back(std::move(name), std::move(address));
  }
}

void add_host_line(LoadContext& context, const Node& node, ServiceDraft& d) {
  std::string text;
  if (!read_text(context, "an item of extra_hosts", node, text)) return;
  std::size_t separator = text.find('=');
  if (separator == std::string::npos) separator = text.find(':');
  if (separator == std::string::npos) {
    context.report.error(node.place,
                         "extra_hosts: " + in_quotes(text) + " has no address; write NAME=ADDRESS");
    return;
  }
  add_host(context, node.place, text.substr(0, separator), text.substr(separator + 1), d);
}

// Those that have a value per container; others are the whole host's.
bool is_own_sysctl(std::string_view name) {
  for (std::string_view prefix : {"net.", "fs.mqueue.", "kernel.shm", "kernel.msg"}) {
    if (name.substr(0, prefix.size()) == prefix) return true;
  }
  return name == "kernel.sem" || name == "kernel.domainname";
}

void check_sysctl(LoadContext& context, const NamedValue& sysctl, const ServiceDraft& d) {
  if (!is_own_sysctl(sysctl.name)) {
    context.report.error(sysctl.place, "sysctl " + in_quotes(sysctl.name) +
                                           " is of the whole host, not of a container; set it in "
                                           "/etc/sysctl.d");
  } else if (!sysctl.value || sysctl.value->empty()) {
    context.report.error(sysctl.place,
                         "sysctl " + sysctl.name + " has no value; write NAME: value");
  } else if (const Node* mode = d.entry->value.find("network_mode");
             sysctl.name.rfind("net.", 0) == 0 && mode != nullptr &&
             (mode->text == "host" || mode->text.find(':') != std::string::npos)) {
    context.report.error(sysctl.place, "sysctl " + sysctl.name + " would be the " +
                                           (mode->text == "host" ? "host" : "other service") +
                                           "'s with network_mode: " + mode->text +
                                           "; remove one of them");
  }
}

bool is_permissions(std::string_view text) {
  return !text.empty() && text.find_first_not_of("rwm") == std::string::npos;
}

struct DeviceDraft {
  DeviceSpec spec;
};

void read_device_source(const Field& f, DeviceDraft& d) {
  read_text(f.context, "device source", f.value(), d.spec.source);
}
void read_device_target(const Field& f, DeviceDraft& d) {
  read_text(f.context, "device target", f.value(), d.spec.target);
}
void read_device_permissions(const Field& f, DeviceDraft& d) {
  read_text(f.context, "device permissions", f.value(), d.spec.permissions);
}

constexpr Key<DeviceDraft> kDeviceKeys[] = {{"source", read_device_source},
                                            {"target", read_device_target},
                                            {"permissions", read_device_permissions}};

// SOURCE, SOURCE:TARGET, SOURCE:PERMISSIONS or all three.
void split_device(const std::string& text, DeviceSpec& device) {
  std::size_t first = text.find(':');
  device.source = text.substr(0, first);
  if (first == std::string::npos) return;
  std::string rest = text.substr(first + 1);
  std::size_t second = rest.find(':');
  if (second != std::string::npos) {
    device.permissions = rest.substr(second + 1);
    device.target = rest.substr(0, second);
  } else if (is_permissions(rest)) {
    device.permissions = rest;
  } else {
    device.target = rest;
  }
}

void read_device(LoadContext& context, const Node& node, ServiceDraft& d) {
  DeviceDraft draft;
  if (node.is_scalar()) {
    split_device(node.text, draft.spec);
  } else {
    read_map(context, node, "a device", kDeviceKeys, draft);
    if (!node.is_mapping()) return;
  }
  DeviceSpec& device = draft.spec;
  if (device.source.empty() || device.source.front() != '/') {
    bool cdi = device.source.find('=') != std::string::npos;
    std::string text = "device " + in_quotes(device.source) +
                       (cdi ? " is a CDI name, which is not supported; name the device nodes"
                            : " is no path; write /dev/NAME");
    cdi ? context.report.unsupported(node.place, text) : context.report.error(node.place, text);
    return;
  }
  device.source = absolute_path("/", device.source);
  device.target = device.target.empty() ? device.source : absolute_path("/", device.target);
  if (!is_permissions(device.permissions)) {
    context.report.error(node.place, "device permissions " + in_quotes(device.permissions) +
                                         " are not r, w and m; write rwm");
    return;
  }
  d.spec.devices.push_back(std::move(device));
  d.device_places.push_back(node.place);
}

// "a 1:3 rwm": type, major:minor (or *), permissions.
bool is_device_rule(std::string_view text) {
  std::size_t first = text.find(' '), last = text.rfind(' ');
  if (first != 1 || last == first || std::string_view("abc").find(text[0]) == std::string::npos) {
    return false;
  }
  std::string_view numbers = text.substr(2, last - 2);
  std::size_t colon = numbers.find(':');
  if (colon == std::string_view::npos || !is_permissions(text.substr(last + 1))) return false;
  for (std::string_view number : {numbers.substr(0, colon), numbers.substr(colon + 1)}) {
    if (number == "*") continue;
    unsigned value = 0;
    auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc{} || stop != number.data() + number.size()) return false;
  }
  return true;
}

void read_namespace(const Field& f, std::string& out, std::string_view own) {
  std::string mode;
  if (!read_text(f.context, f.name(), f.value(), mode)) return;
  if (mode == "host") {
    out = mode;
  } else if (mode.rfind("service:", 0) == 0 || mode.rfind("container:", 0) == 0) {
    f.context.report.unsupported(f.value().place, f.name() + " " + mode +
                                                      " is not supported; write host, or remove "
                                                      "the key for a namespace of its own");
  } else if (!mode.empty() && mode != own) {
    f.error(f.name() + " " + in_quotes(mode) +
            " is not known; write host, or remove the key for a namespace of its own");
  }
}

// A word of resolv.conf: nothing that would begin another line or word.
void read_words_of(const Field& f, bool (*good)(const std::string&), std::string_view wanted,
                   std::vector<std::string>& out) {
  std::vector<std::string> words;
  if (!read_text_or_list(f.context, f.name(), f.value(), words)) return;
  for (std::string& word : words) {
    if (!good(word)) {
      f.error(f.name() + " " + in_quotes(word) + " is not " + std::string(wanted));
    } else {
      out.push_back(std::move(word));
    }
  }
}

}  // namespace

void read_hostname(const Field& f, ServiceDraft& d) {
  std::string name;
  if (!read_text(f.context, "hostname", f.value(), name)) return;
  constexpr std::size_t kLongest = 64;  // what the kernel takes
  if (!is_host_name(name) || name.size() > kLongest) {
    f.error("hostname " + in_quotes(name) +
            " is not one; write up to 64 letters, digits, dots and dashes");
    return;
  }
  d.spec.hostname = std::move(name);
}

void read_domainname(const Field& f, ServiceDraft& d) {
  std::string name;
  if (!read_text(f.context, "domainname", f.value(), name)) return;
  constexpr std::size_t kLongest = 64;
  if (!name.empty() && (!is_host_name(name) || name.size() > kLongest)) {
    f.error("domainname " + in_quotes(name) +
            " is not one; write up to 64 letters, digits, dots and dashes");
    return;
  }
  d.spec.domainname = std::move(name);
}

void read_extra_hosts(const Field& f, ServiceDraft& d) {
  if (f.value().is_mapping()) {
    for (const Entry& entry : f.value().entries) {
      std::vector<std::string> addresses;
      if (!read_text_or_list(f.context, "extra_hosts." + entry.key, entry.value, addresses)) {
        continue;
      }
      for (std::string& address : addresses) {
        add_host(f.context, entry.value.place, entry.key, std::move(address), d);
      }
    }
  } else if (f.value().is_sequence()) {
    for (const Node& item : f.value().items) add_host_line(f.context, item, d);
  } else {
    f.error("extra_hosts must be a map (NAME: ADDRESS) or a list (- NAME=ADDRESS), not " +
            std::string(kind_name(f.value())));
  }
}

void read_dns(const Field& f, ServiceDraft& d) {
  read_words_of(f, is_address, "the address of a name server; write 10.0.0.2", d.spec.dns);
}
void read_dns_search(const Field& f, ServiceDraft& d) {
  auto good = [](const std::string& word) { return is_host_name(word); };
  read_words_of(f, good, "a domain; write example.org, or . for none", d.spec.dns_search);
}
void read_dns_opt(const Field& f, ServiceDraft& d) {
  auto good = [](const std::string& word) {
    return !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '-' || c == '_' || c == ':';
    });
  };
  read_words_of(f, good, "an option of resolv.conf; write ndots:2", d.spec.dns_opt);
}

void read_sysctls(const Field& f, ServiceDraft& d) {
  std::vector<NamedValue> sysctls;
  if (!read_named_values(f.context, "sysctls", f.value(), sysctls)) return;
  for (NamedValue& sysctl : sysctls) {
    std::replace(sysctl.name.begin(), sysctl.name.end(), '/', '.');
    check_sysctl(f.context, sysctl, d);
    d.spec.sysctls[sysctl.name] = sysctl.value.value_or("");
  }
}

void read_annotations(const Field& f, ServiceDraft& d) {
  std::vector<NamedValue> annotations;
  if (!read_named_values(f.context, "annotations", f.value(), annotations)) return;
  for (NamedValue& annotation : annotations) {
    if (annotation.name.empty()) {
      f.context.report.error(annotation.place, "an annotation has no name; write NAME: value");
    } else {
      d.spec.annotations[annotation.name] = annotation.value.value_or("");
    }
  }
}

void read_devices(const Field& f, ServiceDraft& d) {
  if (!f.value().is_sequence()) {
    f.error("devices must be a list, not " + std::string(kind_name(f.value())));
    return;
  }
  for (const Node& item : f.value().items) read_device(f.context, item, d);
}

void read_device_cgroup_rules(const Field& f, ServiceDraft& d) {
  std::vector<std::string> rules;
  if (!read_text_list(f.context, "device_cgroup_rules", f.value(), rules)) return;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (is_device_rule(rules[i])) {
      d.spec.device_cgroup_rules.push_back(std::move(rules[i]));
    } else {
      f.context.report.error(f.value().items[i].place, "device rule " + in_quotes(rules[i]) +
                                                           " is not one; write \"c 1:3 rwm\"");
    }
  }
}

void read_group_add(const Field& f, ServiceDraft& d) {
  std::vector<std::string> groups;
  if (!read_text_list(f.context, "group_add", f.value(), groups)) return;
  for (std::string& group : groups) {
    if (group.empty() || group.find_first_of(": \t\n") != std::string::npos) {
      f.error("group_add " + in_quotes(group) + " is no group; write a name or a number");
    } else {
      d.spec.group_add.push_back(std::move(group));
    }
  }
}

void read_shm_size(const Field& f, ServiceDraft& d) {
  std::int64_t bytes = 0;
  if (!read_bytes(f.context, "shm_size", f.value(), bytes)) return;
  if (bytes == 0) {
    f.error("shm_size 0 would leave no shared memory; write 64m, or ipc: none");
    return;
  }
  d.spec.shm_bytes = bytes;
}

void read_pid(const Field& f, ServiceDraft& d) {
  if (!f.value().is_null()) read_namespace(f, d.spec.pid_mode, "");
}
void read_uts(const Field& f, ServiceDraft& d) { read_namespace(f, d.spec.uts_mode, ""); }
void read_cgroup(const Field& f, ServiceDraft& d) {
  read_namespace(f, d.spec.cgroup_mode, "private");
}
void read_ipc(const Field& f, ServiceDraft& d) {
  if (f.value().is_scalar() && f.value().text == "none") {
    d.spec.ipc_mode = "none";
  } else if (!f.value().is_scalar() || f.value().text != "shareable") {  // nobody can join it
    read_namespace(f, d.spec.ipc_mode, "private");
  }
}
// No container has a user namespace of its own.
void read_userns_mode(const Field& f, ServiceDraft&) {
  std::string mode;
  if (!read_text(f.context, "userns_mode", f.value(), mode) || mode.empty() || mode == "host") {
    return;
  }
  f.context.report.unsupported(f.value().place,
                               "userns_mode " + in_quotes(mode) + " is not supported; write host");
}

void finish_host(LoadContext& context, ServiceDraft& d) {
  if (d.spec.runtime != RuntimeKind::oci) return;
  for (std::size_t i = 0; i < d.spec.devices.size(); ++i) {
    const DeviceSpec& device = d.spec.devices[i];
    PathKind kind = context.look(device.source).kind;
    if (kind != PathKind::device && kind != PathKind::directory && kind != PathKind::unknown) {
      context.report.error(
          d.device_places[i],
          "device " + device.source +
              (kind == PathKind::absent ? " does not exist on this host" : " is no device"));
    }
  }
  if (d.spec.uts_mode == "host" && (d.has("hostname") || d.has("domainname"))) {
    context.report.error(d.place_of("uts"),
                         "hostname and domainname would be the host's with uts: host; remove one "
                         "of them");
  }
  if (d.spec.ipc_mode == "host" && d.has("shm_size")) {
    context.report.warning(d.place_of("shm_size"),
                           "shm_size has no effect with ipc: host; remove one of them");
  }
}

}  // namespace keepwell
