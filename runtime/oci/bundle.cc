#include "runtime/oci/bundle.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "runtime/oci/seccomp_profile.h"
#include "runtime/user_namespace.h"

namespace keepwell {

namespace {

using nlohmann::json;

constexpr const char* kCapabilityNames[] = {
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
};

constexpr const char* kDefaultCapabilities[] = {
    "CHOWN",  "DAC_OVERRIDE", "FSETID",  "FOWNER",           "MKNOD",      "NET_RAW", "SETGID",
    "SETUID", "SETFCAP",      "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL",    "AUDIT_WRITE",
};

constexpr const char* kMaskedPaths[] = {
    "/proc/asound",      "/proc/acpi",          "/proc/interrupts", "/proc/kcore",
    "/proc/keys",        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/proc/scsi",          "/sys/firmware",    "/sys/devices/virtual/powercap",
};

constexpr const char* kReadonlyPaths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                          "/proc/sysrq-trigger"};

constexpr const char* kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr const char* kInitPath =
    "/sbin/docker-init";  // where `init: true` puts its reaper, as Docker does

// With host_capabilities unknown (empty), all names are taken.
std::set<std::string> all_capabilities(const std::set<std::string>& host) {
  if (!host.empty()) return host;
  std::set<std::string> all;
  for (const char* name : kCapabilityNames) all.insert(std::string("CAP_") + name);
  return all;
}

Result<std::string> capability_name(std::string name, const char* key) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return std::toupper(c); });
  if (name.starts_with("CAP_")) name.erase(0, 4);
  if (name == "ALL") return name;
  if (std::find(std::begin(kCapabilityNames), std::end(kCapabilityNames), name) ==
      std::end(kCapabilityNames))
    return fail(Errc::invalid,
                std::string("cannot use ") + key + " " + name + ": there is no such capability");
  return "CAP_" + name;
}

json mount(const char* where, const char* type, const char* source,
           std::vector<std::string> options) {
  return {
      {"destination", where}, {"type", type}, {"source", source}, {"options", std::move(options)}};
}

json bind_mount(const std::string& source, const std::string& where,
                std::vector<std::string> more) {
  more.insert(more.begin(), {"rbind", "rprivate"});
  return {
      {"destination", where}, {"type", "bind"}, {"source", source}, {"options", std::move(more)}};
}

std::size_t depth(const std::string& path) {
  return static_cast<std::size_t>(std::count(path.begin(), path.end(), '/'));
}

// The kernel gives /sys anew only to who owns the network namespace that it shows.
json sys_mount(const ServiceSpec& spec, const char* access) {
  if (spec.network_mode != "host" || !in_own_user_namespace())
    return mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", access});
  return mount("/sys", "none", "/sys", {"rbind", "nosuid", "noexec", "nodev", access});
}

// What docker run mounts whatever it is told.
json default_mounts(const ServiceSpec& spec) {
  const char* access = spec.privileged ? "rw" : "ro";
  json all = json::array({
      mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
      mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
      mount("/dev/pts", "devpts", "devpts",
            {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
      sys_mount(spec, access),
      mount("/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", access}),
  });
  all.push_back(mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}));
  if (spec.ipc_mode == "host")
    all.push_back(bind_mount("/dev/shm", "/dev/shm", {}));
  else if (spec.ipc_mode != "none")
    all.push_back(mount(
        "/dev/shm", "tmpfs", "shm",
        {"nosuid", "noexec", "nodev", "mode=1777", "size=" + std::to_string(spec.shm_bytes)}));
  return all;
}

// The service's own mounts take the place of others at the same path; outer ones come first.
json mounts(const ServiceSpec& spec, const BundlePlan& plan) {
  json all = json::array(), later = json::array();
  auto is_own = [&](const std::string& path) {
    return std::any_of(plan.mounts.begin(), plan.mounts.end(),
                       [&](const BundleMount& own) { return own.destination == path; });
  };
  for (json& each : default_mounts(spec))
    if (!is_own(each["destination"])) all.push_back(std::move(each));
  for (const char* file : {"resolv.conf", "hostname", "hosts"}) {
    std::string where = std::string("/etc/") + file;
    if (plan.etc_dir.empty() || is_own(where)) continue;
    later.push_back(
        bind_mount(plan.etc_dir + "/" + file, where,
                   spec.read_only ? std::vector<std::string>{"ro"} : std::vector<std::string>{}));
  }
  // `exec`: the data directory may be mounted without it.
  if (spec.init)
    later.push_back(bind_mount(plan.init, kInitPath, {"ro", "exec", "nosuid", "nodev"}));
  for (const BundleMount& own : plan.mounts)
    later.push_back({{"destination", own.destination},
                     {"type", own.type},
                     {"source", own.source},
                     {"options", own.options}});
  std::stable_sort(later.begin(), later.end(), [](const json& a, const json& b) {
    return depth(a["destination"]) < depth(b["destination"]);
  });
  for (json& each : later) all.push_back(std::move(each));
  return all;
}

json rlimits(const ServiceSpec& spec, const BundlePlan& plan) {
  json all = json::array();
  bool nofile_given = false;
  for (const Ulimit& limit : spec.ulimits) {
    std::string type = "RLIMIT_" + limit.name;
    std::transform(type.begin(), type.end(), type.begin(),
                   [](unsigned char c) { return std::toupper(c); });
    nofile_given = nofile_given || type == "RLIMIT_NOFILE";
    all.push_back(
        {{"type", type},
         {"soft", static_cast<std::uint64_t>(limit.soft)},  // -1: all bits, which is RLIM_INFINITY
         {"hard", static_cast<std::uint64_t>(limit.hard)}});
  }
  // Whatever limit keepwell was started with, programs get the one that distributions give: a huge
  // soft limit makes those slow that close every descriptor they could have.
  if (!nofile_given && plan.nofile_hard > 0)
    all.push_back({{"type", "RLIMIT_NOFILE"},
                   {"soft", std::min<std::uint64_t>(1024, plan.nofile_hard)},
                   {"hard", std::min<std::uint64_t>(524288, plan.nofile_hard)}});
  return all;
}

json process(const ServiceSpec& spec, const BundlePlan& plan,
             const std::set<std::string>& capabilities) {
  std::vector<std::string> argv = spec.argv();
  if (spec.init) argv.insert(argv.begin(), {kInitPath, "--"});
  json user = {{"uid", plan.uid}, {"gid", plan.gid}};
  if (!plan.groups.empty()) user["additionalGids"] = plan.groups;
  // As execve does, other users than root get no capability but may regain those of the bounding
  // set.
  json sets = {{"bounding", capabilities}};
  if (plan.uid == 0) sets["effective"] = sets["permitted"] = capabilities;
  json made = {{"terminal", spec.tty},
               {"user", std::move(user)},
               {"args", std::move(argv)},
               {"env", bundle_environment(spec, bundle_hostname(spec, plan.id))},
               {"cwd", spec.working_dir.empty() ? "/" : spec.working_dir},
               {"capabilities", std::move(sets)},
               {"noNewPrivileges", spec.no_new_privileges}};
  json limits = rlimits(spec, plan);
  if (!limits.empty()) made["rlimits"] = std::move(limits);
  if (!spec.apparmor.empty() && spec.apparmor != "unconfined" && !spec.privileged)
    made["apparmorProfile"] = spec.apparmor;
  if (spec.oom_score_adj || plan.own_oom_score_adj <= 0)
    made["oomScoreAdj"] = spec.oom_score_adj.value_or(0);
  return made;
}

// "c 1:3 mr", which the loader has looked at.
json device_rule(const std::string& rule) {
  std::istringstream words(rule);
  std::string type, numbers, access;
  words >> type >> numbers >> access;
  json made = {{"allow", true}, {"type", type}, {"access", access}};
  std::size_t colon = numbers.find(':');
  std::string major = numbers.substr(0, colon), minor = numbers.substr(colon + 1);
  if (major != "*") made["major"] = std::strtoll(major.c_str(), nullptr, 10);
  if (minor != "*") made["minor"] = std::strtoll(minor.c_str(), nullptr, 10);
  return made;
}

json memory(const ServiceSpec& spec, const BundlePlan& plan) {
  json made = json::object();
  if (spec.memory_bytes > 0) {
    made["limit"] = spec.memory_bytes;
    if (plan.limit_swap && spec.memory_swap_bytes != 0)
      made["swap"] = spec.memory_swap_bytes;
    else if (plan.limit_swap)
      made["swap"] = spec.memory_bytes * 2;  // docker's: as much swap again
  }
  if (spec.memory_reservation_bytes > 0) made["reservation"] = spec.memory_reservation_bytes;
  // cgroup v2 has nothing like these two.
  if (plan.v1_memory && spec.mem_swappiness) made["swappiness"] = *spec.mem_swappiness;
  if (plan.v1_memory && spec.oom_kill_disable) made["disableOOMKiller"] = true;
  return made;
}

json cpu(const ServiceSpec& spec) {
  json made = json::object();
  if (spec.cpus > 0) {
    made["period"] = 100000;
    made["quota"] = static_cast<std::int64_t>(spec.cpus * 100000);
  }
  if (spec.cpu_shares > 0) made["shares"] = spec.cpu_shares;
  if (!spec.cpuset.empty()) made["cpus"] = spec.cpuset;
  return made;
}

struct DeviceNodes {
  json nodes = json::array();
  json rules = json::array();
};

DeviceNodes device_nodes(const BundlePlan& plan) {
  DeviceNodes made;
  for (const BundleDevice& device : plan.devices) {
    struct stat node {};
    if (stat(device.source.c_str(), &node) != 0 ||
        !(S_ISCHR(node.st_mode) || S_ISBLK(node.st_mode)))
      continue;
    const char* type = S_ISCHR(node.st_mode) ? "c" : "b";
    std::uint64_t major = (node.st_rdev >> 8) & 0xfff;
    std::uint64_t minor = (node.st_rdev & 0xff) | ((node.st_rdev >> 12) & 0xfff00);
    made.nodes.push_back({{"path", device.path},
                          {"type", type},
                          {"major", major},
                          {"minor", minor},
                          {"fileMode", node.st_mode & 07777},
                          {"uid", node.st_uid},
                          {"gid", node.st_gid}});
    made.rules.push_back({{"allow", true},
                          {"type", type},
                          {"major", major},
                          {"minor", minor},
                          {"access", device.access}});
  }
  return made;
}

json resources(const ServiceSpec& spec, const BundlePlan& plan, const json& device_rules) {
  if (plan.no_limits) return json::object();
  json made = {{"devices", json::array({{{"allow", spec.privileged}, {"access", "rwm"}}})}};
  if (!spec.privileged) {
    for (const json& rule : device_rules) made["devices"].push_back(rule);
    for (const std::string& rule : spec.device_cgroup_rules)
      made["devices"].push_back(device_rule(rule));
  }
  if (json limits = memory(spec, plan); !limits.empty()) made["memory"] = std::move(limits);
  if (spec.pids_limit > 0) made["pids"] = {{"limit", spec.pids_limit}};
  if (json limits = cpu(spec); !limits.empty()) made["cpu"] = std::move(limits);
  return made;
}

Status add_seccomp(const ServiceSpec& spec, const BundlePlan& plan,
                   const std::set<std::string>& capabilities, json& into) {
  if (spec.privileged || spec.seccomp == "unconfined") return {};
  if (spec.seccomp.empty()) {
    into["seccomp"] = default_seccomp_profile(capabilities);
    return {};
  }
  Result<json> own = parse_seccomp_profile(plan.seccomp_profile, spec.seccomp, capabilities);
  if (!own) return fail(own.error());
  into["seccomp"] = std::move(*own);
  return {};
}

}  // namespace

std::string bundle_hostname(const ServiceSpec& spec, const std::string& id) {
  if (spec.uts_mode == "host") {
    char name[256] = "";
    return gethostname(name, sizeof name - 1) == 0 ? name : "";
  }
  return spec.hostname.empty() ? id.substr(0, 12) : spec.hostname;
}

std::set<std::string> capability_names(std::uint64_t mask) {
  std::set<std::string> names;
  for (std::size_t bit = 0; bit < std::size(kCapabilityNames); ++bit)
    if (mask >> bit & 1) names.insert(std::string("CAP_") + kCapabilityNames[bit]);
  return names;
}

Result<std::set<std::string>> bundle_capabilities(const ServiceSpec& spec,
                                                  const std::set<std::string>& host) {
  std::set<std::string> all = all_capabilities(host);
  if (spec.privileged) return all;
  std::set<std::string> added, dropped;
  for (const std::string& given : spec.cap_add) {
    Result<std::string> name = capability_name(given, "cap_add");
    if (!name) return fail(name.error());
    added.insert(*name);
  }
  for (const std::string& given : spec.cap_drop) {
    Result<std::string> name = capability_name(given, "cap_drop");
    if (!name) return fail(name.error());
    dropped.insert(*name);
  }
  std::set<std::string> result;
  if (added.contains("ALL")) {
    result = all;
  } else if (!dropped.contains("ALL")) {
    for (const char* name : kDefaultCapabilities)
      if (all.contains(std::string("CAP_") + name)) result.insert(std::string("CAP_") + name);
  }
  for (const std::string& name : dropped) result.erase(name);
  for (const std::string& name : added)
    if (name != "ALL") result.insert(name);
  return result;
}

std::vector<std::string> bundle_environment(const ServiceSpec& spec, const std::string& hostname) {
  std::vector<std::string> env{kDefaultPath, "HOSTNAME=" + hostname};
  if (spec.tty) env.push_back("TERM=xterm");
  for (const auto& [name, value] : spec.environment) {
    auto same = std::find_if(env.begin(), env.end(), [&](const std::string& entry) {
      return entry.starts_with(name + "=");
    });
    if (same == env.end())
      env.push_back(name + "=" + value);
    else
      *same = name + "=" + value;
  }
  return env;
}

Result<json> bundle_config(const ServiceSpec& spec, const BundlePlan& plan) {
  Result<std::set<std::string>> capabilities = bundle_capabilities(spec, plan.host_capabilities);
  if (!capabilities) return fail(capabilities.error());

  json namespaces = json::array();
  const std::pair<const char*, std::string> kinds[] = {
      {"pid", spec.pid_mode}, {"ipc", spec.ipc_mode},       {"uts", spec.uts_mode},
      {"mount", ""},          {"cgroup", spec.cgroup_mode}, {"network", spec.network_mode}};
  for (const auto& [type, mode] : kinds)
    if (mode != "host") namespaces.push_back({{"type", type}});
  if (!plan.network_path.empty()) namespaces.back()["path"] = plan.network_path;
  json sysctl = json::object();
  // One that it shares is set up as its owner wants it.
  if (spec.network_mode.empty() || spec.network_mode == "none")
    sysctl = {
        {"net.ipv4.ip_unprivileged_port_start", "0"},
        {"net.ipv4.ping_group_range",
         in_own_user_namespace() ? "0 65535" : "0 2147483647"}  // groups that there are
    };
  if (!spec.domainname.empty()) sysctl["kernel.domainname"] = spec.domainname;
  for (const auto& [name, value] : spec.sysctls) sysctl[name] = value;

  DeviceNodes devices = device_nodes(plan);
  json linux = {{"resources", resources(spec, plan, devices.rules)},
                {"namespaces", std::move(namespaces)}};
  if (!sysctl.empty()) linux["sysctl"] = std::move(sysctl);
  if (!devices.nodes.empty()) linux["devices"] = std::move(devices.nodes);
  if (!plan.cgroups_path.empty()) linux["cgroupsPath"] = plan.cgroups_path;
  if (!spec.privileged && !spec.unmasked) {
    linux["maskedPaths"] = kMaskedPaths;
    linux["readonlyPaths"] = kReadonlyPaths;
  }
  if (Status added = add_seccomp(spec, plan, *capabilities, linux); !added)
    return fail(added.error());

  json made = {{"ociVersion", "1.0.2"},
               {"process", process(spec, plan, *capabilities)},
               {"root", {{"path", plan.rootfs}, {"readonly", spec.read_only}}},
               {"mounts", mounts(spec, plan)},
               {"linux", std::move(linux)}};
  if (spec.uts_mode != "host") made["hostname"] = bundle_hostname(spec, plan.id);
  if (!spec.annotations.empty()) made["annotations"] = spec.annotations;
  return made;
}

}  // namespace keepwell
