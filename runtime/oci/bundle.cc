#include "runtime/oci/bundle.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "runtime/oci/seccomp_profile.h"

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

json mounts(const ServiceSpec& spec, const BundlePlan& plan) {
  const char* access = spec.privileged ? "rw" : "ro";
  json all = json::array({
      mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
      mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
      mount("/dev/pts", "devpts", "devpts",
            {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
      mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", access}),
      mount("/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", access}),
      mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
      mount("/dev/shm", "tmpfs", "shm",
            {"nosuid", "noexec", "nodev", "mode=1777", "size=67108864"}),
  });
  if (!plan.etc_dir.empty())
    for (const char* file : {"resolv.conf", "hostname", "hosts"})
      all.push_back(
          bind_mount(plan.etc_dir + "/" + file, std::string("/etc/") + file,
                     spec.read_only ? std::vector<std::string>{"ro"} : std::vector<std::string>{}));
  // `exec`: the data directory may be mounted without it.
  if (spec.init) {
    all.push_back(bind_mount(plan.init, kInitPath, {"ro", "exec", "nosuid", "nodev"}));
  }
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
  if (spec.oom_score_adj || plan.own_oom_score_adj <= 0)
    made["oomScoreAdj"] = spec.oom_score_adj.value_or(0);
  return made;
}

json resources(const ServiceSpec& spec, const BundlePlan& plan) {
  json made = {{"devices", json::array({{{"allow", spec.privileged}, {"access", "rwm"}}})}};
  if (spec.memory_bytes > 0) {
    made["memory"] = {{"limit", spec.memory_bytes}};
    if (plan.limit_swap)
      made["memory"]["swap"] = spec.memory_bytes * 2;  // docker's: as much swap again
  }
  if (spec.pids_limit > 0) made["pids"] = {{"limit", spec.pids_limit}};
  if (spec.cpus > 0)
    made["cpu"] = {{"period", 100000}, {"quota", static_cast<std::int64_t>(spec.cpus * 100000)}};
  return made;
}

json devices(const BundlePlan& plan) {
  json all = json::array();
  for (const std::string& path : plan.device_nodes) {
    struct stat node {};
    if (lstat(path.c_str(), &node) != 0 || !(S_ISCHR(node.st_mode) || S_ISBLK(node.st_mode)))
      continue;
    all.push_back({{"path", path},
                   {"type", S_ISCHR(node.st_mode) ? "c" : "b"},
                   {"major", (node.st_rdev >> 8) & 0xfff},
                   {"minor", (node.st_rdev & 0xff) | ((node.st_rdev >> 12) & 0xfff00)},
                   {"fileMode", node.st_mode & 07777},
                   {"uid", node.st_uid},
                   {"gid", node.st_gid}});
  }
  return all;
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
  for (const char* type : {"pid", "ipc", "uts", "mount", "cgroup"})
    namespaces.push_back({{"type", type}});
  json linux = {{"resources", resources(spec, plan)}};
  if (spec.network_mode != "host") {
    namespaces.push_back({{"type", "network"}});
    linux["sysctl"] = {{"net.ipv4.ip_unprivileged_port_start", "0"},
                       {"net.ipv4.ping_group_range", "0 2147483647"}};
  }
  linux["namespaces"] = std::move(namespaces);
  if (!plan.cgroups_path.empty()) linux["cgroupsPath"] = plan.cgroups_path;
  if (spec.privileged) {
    linux["devices"] = devices(plan);
  } else {
    linux["maskedPaths"] = kMaskedPaths;
    linux["readonlyPaths"] = kReadonlyPaths;
  }
  if (Status added = add_seccomp(spec, plan, *capabilities, linux); !added)
    return fail(added.error());

  return json{{"ociVersion", "1.0.2"},
              {"process", process(spec, plan, *capabilities)},
              {"root", {{"path", plan.rootfs}, {"readonly", spec.read_only}}},
              {"hostname", bundle_hostname(spec, plan.id)},
              {"mounts", mounts(spec, plan)},
              {"linux", std::move(linux)}};
}

namespace {

Status write_text(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::trunc | std::ios::binary);
  out << text;
  out.close();
  if (!out) return fail(Errc::os, "cannot write " + path);
  return {};
}

std::string host_file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

Status write_etc_files(const ServiceSpec& spec, const std::string& hostname,
                       const std::string& dir) {
  if (mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno("cannot make " + dir);
  bool host = spec.network_mode == "host";
  std::string hosts = host ? host_file("/etc/hosts")
                           : "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
                             "fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\n"
                             "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
  if (Status done = write_text(dir + "/hosts", hosts); !done) return done;
  if (Status done = write_text(dir + "/hostname", hostname + "\n"); !done) return done;
  return write_text(dir + "/resolv.conf", host_file("/etc/resolv.conf"));
}

}  // namespace keepwell
