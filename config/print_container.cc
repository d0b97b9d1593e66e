// The part of print.h that writes what a container finds around its program.
#include <cstdio>
#include <map>

#include "config/bytes.h"
#include "config/spec_names.h"
#include "config/yaml_writer.h"

namespace keepwell {
namespace {

std::string octal(std::uint32_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "\"%04o\"", mode);
  return text;
}

void print_names(YamlWriter& w, const ServiceSpec& s) {
  w.text_if("hostname", s.hostname);
  w.text_if("domainname", s.domainname);
  if (!s.extra_hosts.empty()) {
    std::vector<std::string> lines;
    lines.reserve(s.extra_hosts.size());
    for (const auto& [name, address] : s.extra_hosts) {
      lines.push_back(name);
      lines.back() += "=" + address;
    }
    w.list("extra_hosts", lines);
  }
  w.list_if("dns", s.dns);
  w.list_if("dns_search", s.dns_search);
  w.list_if("dns_opt", s.dns_opt);
}

void print_map(YamlWriter& w, std::string_view key, const std::map<std::string, std::string>& map) {
  if (map.empty()) return;
  w.open(key);
  for (const auto& [name, value] : map) w.text(name, value);
  w.close();
}

void print_limits(YamlWriter& w, const ServiceSpec& s) {
  if (!s.ulimits.empty()) {
    w.open("ulimits");
    for (const Ulimit& u : s.ulimits) {
      w.open(u.name);
      w.number("soft", u.soft);
      w.number("hard", u.hard);
      w.close();
    }
    w.close();
  }
  if (s.pids_limit > 0) w.number("pids_limit", s.pids_limit);
  if (s.memory_bytes > 0) w.raw("mem_limit", format_bytes(s.memory_bytes));
  if (s.cpus > 0) w.real("cpus", s.cpus);
  if (s.memory_swap_bytes != 0) {
    w.raw("memswap_limit", s.memory_swap_bytes < 0 ? "-1" : format_bytes(s.memory_swap_bytes));
  }
  if (s.memory_reservation_bytes > 0) {
    w.raw("mem_reservation", format_bytes(s.memory_reservation_bytes));
  }
  if (s.mem_swappiness) w.number("mem_swappiness", *s.mem_swappiness);
  w.flag_if("oom_kill_disable", s.oom_kill_disable);
  if (s.oom_score_adj) w.number("oom_score_adj", *s.oom_score_adj);
  if (s.cpu_shares > 0) w.number("cpu_shares", s.cpu_shares);
  if (!s.cpuset.empty()) w.raw("cpuset", yaml_quote(s.cpuset));
  if (s.shm_bytes != ServiceSpec{}.shm_bytes) w.raw("shm_size", format_bytes(s.shm_bytes));
}

void print_security(YamlWriter& w, const ServiceSpec& s) {
  w.list_if("cap_add", s.cap_add);
  w.list_if("cap_drop", s.cap_drop);
  w.flag_if("privileged", s.privileged);
  w.flag_if("read_only", s.read_only);
  std::vector<std::string> options;
  if (s.no_new_privileges) options.emplace_back("no-new-privileges:true");
  if (!s.seccomp.empty()) options.push_back("seccomp=" + s.seccomp);
  if (!s.apparmor.empty()) options.push_back("apparmor=" + s.apparmor);
  if (s.unmasked) options.emplace_back("systempaths=unconfined");
  w.list_if("security_opt", options);
  w.list_if("group_add", s.group_add);
  w.text_if("pid", s.pid_mode);
  w.text_if("uts", s.uts_mode);
  w.text_if("cgroup", s.cgroup_mode);
  w.text_if("ipc", s.ipc_mode);
  print_map(w, "sysctls", s.sysctls);
  print_map(w, "annotations", s.annotations);
}

void print_mount(YamlWriter& w, const MountSpec& m) {
  w.item();
  w.raw("type", name_of(m.kind));
  if (m.kind == MountKind::bind) w.text("source", m.source);
  if (m.kind == MountKind::volume) w.text_if("source", m.volume_key);
  w.text("target", m.target);
  w.flag_if("read_only", m.read_only);
  if (m.kind == MountKind::bind) {
    w.open("bind");
    w.flag("create_host_path", m.create_source);
    w.text_if("propagation", m.propagation);
    w.text_if("recursive", m.recursive);
    w.close();
  } else if (!m.copy && m.driver_opts.empty()) {
    w.open("volume");
    w.raw("nocopy", "true");
    w.close();
  }
  w.close();
}

void print_mounts(YamlWriter& w, const ServiceSpec& s) {
  std::vector<std::string> tmpfs;
  bool opened = false;
  for (const MountSpec& m : s.mounts) {
    if (m.kind == MountKind::tmpfs) {
      std::string text = m.target;
      for (const std::string& option : m.options) {
        text += text.size() == m.target.size() ? ":" : ",";
        text += option;
      }
      if (m.read_only) text += text.size() == m.target.size() ? ":ro" : ",ro";
      tmpfs.push_back(std::move(text));
      continue;
    }
    if (!opened) w.open("volumes");
    opened = true;
    print_mount(w, m);
  }
  if (opened) w.close();
  w.list_if("tmpfs", tmpfs);
}

void print_files(YamlWriter& w, const ServiceSpec& s, bool secrets) {
  bool opened = false;
  for (const FileSpec& file : s.files) {
    if (file.secret != secrets) continue;
    if (!opened) w.open(secrets ? "secrets" : "configs");
    opened = true;
    w.item();
    w.text("source", file.name);
    w.text("target", file.target);
    w.raw("uid", yaml_quote(std::to_string(file.uid)));
    w.raw("gid", yaml_quote(std::to_string(file.gid)));
    w.raw("mode", octal(file.mode));
    w.close();
  }
  if (opened) w.close();
}

void print_devices(YamlWriter& w, const ServiceSpec& s) {
  if (!s.devices.empty()) {
    w.open("devices");
    for (const DeviceSpec& device : s.devices) {
      w.item();
      w.text("source", device.source);
      w.text("target", device.target);
      w.raw("permissions", device.permissions);
      w.close();
    }
    w.close();
  }
  w.list_if("device_cgroup_rules", s.device_cgroup_rules);
}

void print_hooks(YamlWriter& w, std::string_view key, const std::vector<HookSpec>& hooks) {
  if (hooks.empty()) return;
  w.open(key);
  for (const HookSpec& hook : hooks) {
    w.item();
    w.list("command", hook.command);
    w.text_if("user", hook.user);
    w.flag_if("privileged", hook.privileged);
    w.text_if("working_dir", hook.working_dir);
    if (!hook.environment.empty()) {
      w.open("environment");
      for (const auto& [name, value] : hook.environment) w.text(name, value);
      w.close();
    }
    w.close();
  }
  w.close();
}

void print_volume_definition(YamlWriter& w, const MountSpec& m) {
  w.open(m.volume_key);
  w.text("name", m.source);
  w.flag_if("external", m.external);
  if (!m.driver_opts.empty()) {
    w.open("driver_opts");
    for (const auto& [key, value] : m.driver_opts) w.text(key, value);
    w.close();
  }
  w.close();
}

void print_file_definition(YamlWriter& w, const FileSpec& file) {
  w.open(file.name);
  if (!file.path.empty()) {
    w.text("file", file.path);
  } else if (!file.variable.empty()) {
    w.text("environment", file.variable);
  } else {
    w.text("content", file.content);
  }
  w.close();
}

void print_network_definition(YamlWriter& w, const NetworkSpec& n) {
  w.open(n.key);
  w.text("name", n.name);
  w.flag_if("internal", n.internal);
  w.flag_if("enable_ipv6", n.ipv6);
  if (!n.bridge.empty() || n.mtu != 0) {
    w.open("driver_opts");
    w.text_if("com.docker.network.bridge.name", n.bridge);
    if (n.mtu != 0) w.text("com.docker.network.driver.mtu", std::to_string(n.mtu));
    w.close();
  }
  if (!n.subnets.empty()) {
    w.open("ipam");
    w.open("config");
    for (const SubnetSpec& subnet : n.subnets) {
      w.item();
      w.text("subnet", subnet.subnet);
      w.text_if("gateway", subnet.gateway);
      w.text_if("ip_range", subnet.ip_range);
      w.close();
    }
    w.close();
    w.close();
  }
  print_map(w, "labels", n.labels);
  w.close();
}

std::string host_ports(const PortSpec& port) {
  std::string text = std::to_string(port.host_port);
  if (port.host_port_last != 0) text += "-" + std::to_string(port.host_port_last);
  return text;
}

}  // namespace

void print_service_networks(YamlWriter& w, const ServiceSpec& s) {
  w.text_if("network_mode", s.network_mode);
  if (!s.networks.empty() && !s.networks_implicit) {
    w.open("networks");
    for (const NetworkUse& use : s.networks) {
      w.open(use.network.key);
      w.number("priority", use.priority);
      w.list_if("aliases", use.aliases);
      w.text_if("ipv4_address", use.ipv4_address);
      w.text_if("ipv6_address", use.ipv6_address);
      w.text_if("mac_address", use.mac_address);
      w.close();
    }
    w.close();
  }
  if (!s.ports.empty()) {
    w.open("ports");
    for (const PortSpec& port : s.ports) {
      w.item();
      w.number("target", port.container_port);
      if (port.host_port != 0) w.text("published", host_ports(port));
      w.text_if("host_ip", port.host_ip);
      w.raw("protocol", port.protocol);
      w.close();
    }
    w.close();
  }
  if (s.image_id.empty()) w.list_if("expose", s.exposed_ports);
}

void print_container(YamlWriter& w, const ServiceSpec& s) {
  print_names(w, s);
  print_security(w, s);
  print_limits(w, s);
  print_mounts(w, s);
  print_files(w, s, true);
  print_files(w, s, false);
  print_devices(w, s);
  print_hooks(w, "post_start", s.post_start);
  print_hooks(w, "pre_stop", s.pre_stop);
}

void print_resources(YamlWriter& w, const ProjectSpec& project) {
  std::map<std::string, const NetworkSpec*> networks;
  std::map<std::string, const MountSpec*> volumes;
  std::map<std::string, const FileSpec*> files[2];
  for (const ServiceSpec& service : project.services) {
    for (const NetworkUse& use : service.networks) {
      networks.emplace(use.network.key, &use.network);
    }
    for (const MountSpec& m : service.mounts) {
      if (!m.volume_key.empty()) volumes.emplace(m.volume_key, &m);
    }
    for (const FileSpec& file : service.files) files[file.secret].emplace(file.name, &file);
  }
  if (!networks.empty()) {
    w.open("networks");
    for (const auto& [key, network] : networks) print_network_definition(w, *network);
    w.close();
  }
  if (!volumes.empty()) {
    w.open("volumes");
    for (const auto& [key, mount] : volumes) print_volume_definition(w, *mount);
    w.close();
  }
  for (bool secret : {true, false}) {
    if (files[secret].empty()) continue;
    w.open(secret ? "secrets" : "configs");
    for (const auto& [name, file] : files[secret]) print_file_definition(w, *file);
    w.close();
  }
}

}  // namespace keepwell
