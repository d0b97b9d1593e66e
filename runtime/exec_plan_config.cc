// The part of exec_plan.h that reads an OCI config.json. The file is the bundle's own, but may have
// been made by anybody's runtime: what is missing has the specification's default, and what has a
// wrong type is an error that names it.
#include <sched.h>
#include <sys/capability.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/exec_plan.h"
#include "runtime/seccomp_program.h"

namespace keepwell {
namespace {

using nlohmann::json;

// Reads values and remembers the first that had a wrong type.
class Reader {
 public:
  const json& object(const json& parent, const char* key) {
    static const json kEmpty = json::object();
    const json* found = find(parent, key);
    if (found == nullptr) return kEmpty;
    return found->is_object() ? *found : wrong(key, kEmpty);
  }

  const json& array(const json& parent, const char* key) {
    static const json kEmpty = json::array();
    const json* found = find(parent, key);
    if (found == nullptr) return kEmpty;
    return found->is_array() ? *found : wrong(key, kEmpty);
  }

  std::string text(const json& parent, const char* key) {
    const json* found = find(parent, key);
    if (found == nullptr) return {};
    if (!found->is_string()) return wrong(key, std::string());
    return found->get<std::string>();
  }

  bool flag(const json& parent, const char* key) {
    const json* found = find(parent, key);
    if (found == nullptr) return false;
    return found->is_boolean() ? found->get<bool>() : wrong(key, false);
  }

  // None where it is absent.
  std::optional<std::int64_t> integer(const json& parent, const char* key) {
    const json* found = find(parent, key);
    if (found == nullptr) return std::nullopt;
    if (!found->is_number_integer()) return wrong(key, std::optional<std::int64_t>());
    return found->get<std::int64_t>();
  }

  std::uint64_t whole(const json& parent, const char* key) {
    const json* found = find(parent, key);
    if (found == nullptr) return 0;
    return found->is_number_unsigned() ? found->get<std::uint64_t>() : wrong(key, std::uint64_t{0});
  }

  std::uint32_t id(const json& parent, const char* key) {
    std::uint64_t value = whole(parent, key);
    return value < kNoFd ? static_cast<std::uint32_t>(value) : wrong(key, std::uint32_t{0});
  }

  std::vector<std::string> texts(const json& parent, const char* key) {
    std::vector<std::string> values;
    for (const json& entry : array(parent, key)) {
      if (!entry.is_string()) return wrong(key, std::vector<std::string>());
      values.push_back(entry.get<std::string>());
    }
    return values;
  }

  template <class T>
  T wrong(const char* key, T&& instead) {
    if (problem_.empty()) problem_ = key;
    return std::forward<T>(instead);
  }
  const json& wrong(const char* key, const json& instead) {
    if (problem_.empty()) problem_ = key;
    return instead;
  }

  const std::string& problem() const { return problem_; }

 private:
  static const json* find(const json& parent, const char* key) {
    auto at = parent.find(key);
    return at == parent.end() || at->is_null() ? nullptr : &*at;
  }

  std::string problem_;
};

struct NamespaceKind {
  const char* type;
  const char* proc_name;
  std::uint64_t flag;
};
constexpr NamespaceKind kNamespaces[] = {
    {"pid", "pid", CLONE_NEWPID},          {"network", "net", CLONE_NEWNET},
    {"mount", "mnt", CLONE_NEWNS},         {"ipc", "ipc", CLONE_NEWIPC},
    {"uts", "uts", CLONE_NEWUTS},          {"user", "user", CLONE_NEWUSER},
    {"cgroup", "cgroup", CLONE_NEWCGROUP}, {"time", "time", CLONE_NEWTIME}};

bool same_file(const std::string& a, const std::string& b) {
  struct stat first {
  }, second{};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 &&
         first.st_ino == second.st_ino && first.st_dev == second.st_dev;
}

std::uint64_t read_namespaces(Reader& reader, const json& linux_section) {
  std::uint64_t flags = 0;
  for (const json& entry : reader.array(linux_section, "namespaces")) {
    if (!entry.is_object()) return reader.wrong("namespaces", std::uint64_t{0});
    std::string type = reader.text(entry, "type");
    std::string path = reader.text(entry, "path");
    auto kind = std::find_if(std::begin(kNamespaces), std::end(kNamespaces),
                             [&](const NamespaceKind& each) { return type == each.type; });
    if (kind == std::end(kNamespaces)) return reader.wrong("namespaces.type", std::uint64_t{0});
    // One that is ours must not be joined: a user namespace refuses.
    if (!path.empty() && same_file(path, std::string("/proc/self/ns/") + kind->proc_name)) continue;
    flags |= kind->flag;
  }
  return flags;
}

std::uint64_t read_capability_set(Reader& reader, const json& parent, const char* key) {
  std::uint64_t set = 0;
  for (const std::string& name : reader.texts(parent, key)) {
    cap_value_t value = 0;
    // Names that this kernel or libcap does not know are passed over, as runc does.
    if (cap_from_name(name.c_str(), &value) == 0 && value >= 0 && value < 64) {
      set |= std::uint64_t{1} << value;
    }
  }
  return set;
}

CapabilitySets read_capabilities(Reader& reader, const json& process) {
  const json& section = reader.object(process, "capabilities");
  return {.bounding = read_capability_set(reader, section, "bounding"),
          .effective = read_capability_set(reader, section, "effective"),
          .permitted = read_capability_set(reader, section, "permitted"),
          .inheritable = read_capability_set(reader, section, "inheritable"),
          .ambient = read_capability_set(reader, section, "ambient")};
}

std::vector<PlanRlimit> read_rlimits(Reader& reader, const json& process) {
  static const std::map<std::string, int> kResources = {{"RLIMIT_AS", RLIMIT_AS},
                                                        {"RLIMIT_CORE", RLIMIT_CORE},
                                                        {"RLIMIT_CPU", RLIMIT_CPU},
                                                        {"RLIMIT_DATA", RLIMIT_DATA},
                                                        {"RLIMIT_FSIZE", RLIMIT_FSIZE},
                                                        {"RLIMIT_LOCKS", RLIMIT_LOCKS},
                                                        {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
                                                        {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
                                                        {"RLIMIT_NICE", RLIMIT_NICE},
                                                        {"RLIMIT_NOFILE", RLIMIT_NOFILE},
                                                        {"RLIMIT_NPROC", RLIMIT_NPROC},
                                                        {"RLIMIT_RSS", RLIMIT_RSS},
                                                        {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
                                                        {"RLIMIT_RTTIME", RLIMIT_RTTIME},
                                                        {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
                                                        {"RLIMIT_STACK", RLIMIT_STACK}};
  std::vector<PlanRlimit> limits;
  for (const json& entry : reader.array(process, "rlimits")) {
    if (!entry.is_object()) return reader.wrong("rlimits", std::vector<PlanRlimit>());
    auto resource = kResources.find(reader.text(entry, "type"));
    if (resource == kResources.end()) {
      return reader.wrong("rlimits.type", std::vector<PlanRlimit>());
    }
    limits.push_back({.resource = static_cast<std::uint32_t>(resource->second),
                      .soft = reader.whole(entry, "soft"),
                      .hard = reader.whole(entry, "hard")});
  }
  return limits;
}

std::vector<IdRange> read_map(Reader& reader, const json& linux_section, const char* key) {
  std::vector<IdRange> map;
  for (const json& entry : reader.array(linux_section, key)) {
    if (!entry.is_object()) return reader.wrong(key, std::vector<IdRange>());
    map.push_back(
        {reader.id(entry, "containerID"), reader.id(entry, "hostID"), reader.id(entry, "size")});
  }
  return map;
}

std::optional<std::uint32_t> read_io_priority(Reader& reader, const json& process) {
  const json& section = reader.object(process, "ioPriority");
  if (section.empty()) return std::nullopt;
  static const std::map<std::string, std::uint32_t> kClasses = {
      {"IOPRIO_CLASS_RT", 1}, {"IOPRIO_CLASS_BE", 2}, {"IOPRIO_CLASS_IDLE", 3}};
  auto at = kClasses.find(reader.text(section, "class"));
  if (at == kClasses.end()) {
    return reader.wrong("ioPriority.class", std::optional<std::uint32_t>());
  }
  auto level = static_cast<std::uint32_t>(reader.whole(section, "priority"));
  return at->second << 13 | (level & 7);
}

std::optional<SchedulerSettings> read_scheduler(Reader& reader, const json& process) {
  const json& section = reader.object(process, "scheduler");
  if (section.empty()) return std::nullopt;
  static const std::map<std::string, std::uint32_t> kPolicies = {
      {"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},      {"SCHED_BATCH", 3},
      {"SCHED_ISO", 4},   {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6}};
  static const std::map<std::string, std::uint32_t> kFlags = {
      {"SCHED_FLAG_RESET_ON_FORK", 1},  {"SCHED_FLAG_RECLAIM", 2},
      {"SCHED_FLAG_DL_OVERRUN", 4},     {"SCHED_FLAG_KEEP_POLICY", 8},
      {"SCHED_FLAG_KEEP_PARAMS", 16},   {"SCHED_FLAG_UTIL_CLAMP_MIN", 32},
      {"SCHED_FLAG_UTIL_CLAMP_MAX", 64}};
  SchedulerSettings settings;
  auto policy = kPolicies.find(reader.text(section, "policy"));
  if (policy == kPolicies.end()) {
    return reader.wrong("scheduler.policy", std::optional<SchedulerSettings>());
  }
  settings.policy = policy->second;
  settings.nice = static_cast<std::int32_t>(reader.integer(section, "nice").value_or(0));
  settings.priority = static_cast<std::uint32_t>(reader.integer(section, "priority").value_or(0));
  settings.runtime = reader.whole(section, "runtime");
  settings.deadline = reader.whole(section, "deadline");
  settings.period = reader.whole(section, "period");
  for (const std::string& name : reader.texts(section, "flags")) {
    auto flag = kFlags.find(name);
    if (flag == kFlags.end()) {
      return reader.wrong("scheduler.flags", std::optional<SchedulerSettings>());
    }
    settings.flags |= flag->second;
  }
  return settings;
}

void read_process(Reader& reader, const json& process, ExecPlanBase& base) {
  base.capabilities = read_capabilities(reader, process);
  base.rlimits = read_rlimits(reader, process);
  base.no_new_privileges = reader.flag(process, "noNewPrivileges");
  base.apparmor_profile = reader.text(process, "apparmorProfile");
  base.selinux_label = reader.text(process, "selinuxLabel");
  base.env = reader.texts(process, "env");
  base.cwd = reader.text(process, "cwd");
  if (base.cwd.empty()) base.cwd = "/";
  base.io_priority = read_io_priority(reader, process);
  base.scheduler = read_scheduler(reader, process);
  if (auto score = reader.integer(process, "oomScoreAdj")) {
    base.oom_score_adj = static_cast<int>(std::clamp<std::int64_t>(*score, -1000, 1000));
  }
  const json& user = reader.object(process, "user");
  base.uid = reader.id(user, "uid");
  base.gid = reader.id(user, "gid");
  for (const json& group : reader.array(user, "additionalGids")) {
    bool good = group.is_number_unsigned() && group.get<std::uint64_t>() < kNoFd;
    if (!good) {
      reader.wrong("additionalGids", false);
      return;
    }
    base.groups.push_back(group.get<std::uint32_t>());
  }
  if (auto mask = reader.integer(user, "umask")) {
    base.umask = static_cast<std::uint32_t>(*mask & 0777);
  }
}

void read_personality(Reader& reader, const json& linux_section, ExecPlanBase& base) {
  const json& section = reader.object(linux_section, "personality");
  if (section.empty()) return;
  std::string domain = reader.text(section, "domain");
  if (domain == "LINUX") {
    base.personality = 0;
  } else if (domain == "LINUX32") {
    base.personality = 8;
  } else {
    reader.wrong("personality.domain", false);
  }
}

}  // namespace

Result<ExecPlanBase> compile_exec_plan_base(std::string_view config_json,
                                            const ExecPlanOptions& options) {
  json config = json::parse(config_json, nullptr, false);
  if (!config.is_object()) {
    return fail(Errc::invalid, "cannot read the container's config.json: not a JSON object");
  }
  Reader reader;
  ExecPlanBase base;
  base.keyring = options.keyring;
  base.rootless = options.rootless;
  const json& linux_section = reader.object(config, "linux");
  read_process(reader, reader.object(config, "process"), base);
  if (base.oom_score_adj == options.inherited_oom_score_adj) base.oom_score_adj.reset();
  base.namespaces = read_namespaces(reader, linux_section);
  base.uid_map = read_map(reader, linux_section, "uidMappings");
  base.gid_map = read_map(reader, linux_section, "gidMappings");
  base.cgroup_path = reader.text(linux_section, "cgroupsPath");
  base.rootfs = reader.text(reader.object(config, "root"), "path");
  for (const json& mount : reader.array(config, "mounts")) {
    if (!mount.is_object()) continue;
    std::string where = reader.text(mount, "destination");
    bool hides = where == "/" || where == "/etc" || where == "/etc/" || where == "/etc/passwd";
    if (hides) base.passwd_in_rootfs = false;
  }
  read_personality(reader, linux_section, base);
  const json& seccomp = reader.object(linux_section, "seccomp");
  if (!reader.problem().empty()) {
    return fail(Errc::invalid, "cannot read the container's config.json: " + reader.problem() +
                                   " has a value of the wrong kind");
  }
  if (!seccomp.empty()) {
    Result<SeccompProgram> program = compile_seccomp(seccomp);
    if (!program) return fail(program.error());
    base.seccomp = std::make_shared<const SeccompProgram>(std::move(*program));
  }
  return base;
}

}  // namespace keepwell
