#include "runtime/exec_plan.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "runtime/passwd.h"

namespace keepwell {
namespace {

// The blob behind the header, under construction.
class PlanWriter {
 public:
  PlanWriter() { bytes_.resize(sizeof(PlanHeader)); }

  PlanRef add(const void* data, std::size_t element, std::size_t count, std::size_t align) {
    if (count == 0) return {};
    bytes_.resize((bytes_.size() + align - 1) / align * align);
    PlanRef ref{static_cast<std::uint32_t>(bytes_.size()), static_cast<std::uint32_t>(count)};
    bytes_.append(static_cast<const char*>(data), element * count);
    return ref;
  }

  PlanRef text(const std::string& value) {
    PlanRef ref{static_cast<std::uint32_t>(bytes_.size()),
                static_cast<std::uint32_t>(value.size())};
    bytes_.append(value.c_str(), value.size() + 1);
    return ref;
  }

  PlanRef optional_text(const std::string& value) {
    return value.empty() ? PlanRef{} : text(value);
  }

  PlanRef ids(const std::vector<std::uint32_t>& values) {
    return add(values.data(), sizeof(std::uint32_t), values.size(), 4);
  }

  // An array of offsets with SPARE zeros behind it.
  PlanRef strings(const std::vector<std::string>& values, std::size_t spare) {
    std::vector<std::uint64_t> offsets;
    offsets.reserve(values.size() + spare);
    for (const std::string& value : values) offsets.push_back(text(value).offset);
    offsets.resize(values.size() + spare);
    PlanRef ref = add(offsets.data(), sizeof(std::uint64_t), offsets.size(), 8);
    ref.count = static_cast<std::uint32_t>(values.size());
    return ref;
  }

  // The whole plan; its last byte is NUL whatever lies there.
  std::string finish(PlanHeader header) {
    bytes_.push_back('\0');
    header.header_bytes = sizeof(PlanHeader);
    header.total_bytes = static_cast<std::uint32_t>(bytes_.size());
    std::memcpy(bytes_.data(), &header, sizeof(header));
    return std::move(bytes_);
  }

  std::size_t size() const { return bytes_.size(); }

 private:
  std::string bytes_;
};

Result<UniqueFd> seal(const std::string& bytes) {
  UniqueFd memfd(::memfd_create("keepwell-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memfd) return fail_errno("cannot make the plan of an exec");
  if (::write(memfd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    return fail_errno("cannot write the plan of an exec");
  }
  if (::fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) !=
      0) {
    return fail_errno("cannot seal the plan of an exec");
  }
  return memfd;
}

std::uint64_t known_capabilities(bool in_user_namespace) {
  std::uint64_t all = 0;
  for (int i = 0; i < 64; ++i) {
    int bounded = cap_get_bound(static_cast<cap_value_t>(i));
    if (bounded < 0) break;
    if (bounded == 1 || in_user_namespace) all |= std::uint64_t{1} << i;
  }
  return all;
}

std::uint32_t host_id(const std::vector<IdRange>& map, std::uint32_t id) {
  for (const IdRange& range : map) {
    if (id >= range.container && id - range.container < range.count) {
      return range.host + (id - range.container);
    }
  }
  return kNoFd;
}

bool has_value(const std::vector<std::string>& env, std::string_view name) {
  return std::any_of(env.begin(), env.end(), [&](const std::string& entry) {
    return entry.size() > name.size() + 1 && entry[name.size()] == '=' &&
           std::string_view(entry).substr(0, name.size()) == name;
  });
}

Status check_request(const ExecPlanBase& base, const ExecRequest& request, const ExecFds& fds) {
  if (request.argv.empty()) return fail(Errc::invalid, "cannot run an empty command");
  if (request.argv[0].empty()) {
    return fail(Errc::invalid, "cannot run a command whose first word is empty");
  }
  for (const std::string& word : request.argv) {
    if (word.find('\0') != std::string::npos) {
      return fail(Errc::invalid, "cannot run a command with a NUL byte in it");
    }
  }
  const std::string& cwd = request.cwd.empty() ? base.cwd : request.cwd;
  if (cwd.empty() || cwd[0] != '/' || cwd.find('\0') != std::string::npos) {
    return fail(Errc::invalid, "cannot use working directory \"" + cwd + "\": it must be absolute");
  }
  if (!request.user.empty()) {
    if (Status ok = check_user_spec(request.user); !ok) return ok;
  }
  bool complete = fds.status >= 0 && fds.stdio[0] >= 0 && fds.stdio[1] >= 0 && fds.stdio[2] >= 0 &&
                  (base.namespaces == 0 || fds.target_pidfd >= 0) &&
                  (!request.tty || fds.tty_socket >= 0) &&
                  (!fds.cgroups_of_clones || (fds.leaf_directory >= 0 && fds.clone_status >= 0));
  if (!complete)
    return fail(Errc::invalid, "cannot plan an exec: a descriptor it needs is missing");
  return {};
}

// Where descriptors go: the fixed ones first, the rest as they come.
std::vector<int> assign_fds(const ExecPlanBase& base, const ExecRequest& request,
                            const ExecFds& fds, PlanHeader& header,
                            std::vector<std::uint32_t>& cgroup_numbers) {
  std::vector<int> list{fds.stdio[0], fds.stdio[1], fds.stdio[2], -1, fds.status};
  auto append = [&list](int fd) {
    list.push_back(fd);
    return static_cast<std::uint32_t>(list.size() - 1);
  };
  if (base.namespaces != 0) header.target_pidfd = append(fds.target_pidfd);
  if (fds.cgroups_of_clones) {
    header.leaf_directory = append(fds.leaf_directory);
    header.clone_status = append(fds.clone_status);
  }
  for (int fd : fds.cgroup_procs) cgroup_numbers.push_back(append(fd));
  if (base.namespaces != 0 && fds.target_root >= 0) header.target_root = append(fds.target_root);
  if (request.tty) header.tty_socket = append(fds.tty_socket);
  return list;
}

bool same_kinds(const ExecFds& a, const ExecFds& b) {
  return (a.target_pidfd < 0) == (b.target_pidfd < 0) &&
         (a.target_root < 0) == (b.target_root < 0) && (a.tty_socket < 0) == (b.tty_socket < 0) &&
         a.cgroup_procs.size() == b.cgroup_procs.size();
}

void put_identity(const ExecPlanBase& base, const ExecRequest& request, PlanHeader& header,
                  PlanWriter& writer) {
  bool identity = base.change_identity || !request.user.empty();
  if (!identity) return;
  header.flags |= kPlanIdentity;
  // Root's pipes are root's already.
  bool pipes_are_its_own = base.uid == 0 && request.user.empty() && base.uid_map.empty();
  if (!pipes_are_its_own) header.flags |= kPlanChownStdio;
  if (base.rootless) header.flags |= kPlanSetgroupsMayFail;
  header.uid = base.uid;
  header.gid = base.gid;
  if (request.user.empty()) {
    std::vector<std::uint32_t> groups = base.groups;
    header.groups = writer.ids(groups);
  } else {
    header.flags |= kPlanLookUpUser;
    header.user_spec = writer.text(request.user);
  }
  if (!base.uid_map.empty() && !base.rootless) {
    header.stdio_root_uid = host_id(base.uid_map, 0);
    header.stdio_root_gid = host_id(base.gid_map, 0);
  }
}

void put_privileges(const ExecPlanBase& base, const ExecRequest& request, PlanHeader& header,
                    PlanWriter& writer) {
  std::optional<CapabilitySets> sets = base.capabilities;
  if (request.privileged && base.namespaces != 0) {
    std::uint64_t all = known_capabilities(!base.uid_map.empty());
    sets = CapabilitySets{.bounding = all, .effective = all, .permitted = all};
  }
  if (sets) {
    header.flags |= kPlanCapabilities;
    header.caps_bounding = sets->bounding;
    header.caps_effective = sets->effective;
    header.caps_permitted = sets->permitted;
    header.caps_inheritable = sets->inheritable;
    header.caps_ambient = sets->ambient;
  }
  if (base.no_new_privileges) header.flags |= kPlanNoNewPrivileges;
  if (base.seccomp != nullptr) {
    header.seccomp = writer.add(base.seccomp->bytes.data(), 8, base.seccomp->instructions(), 8);
    header.seccomp_flags = base.seccomp->flags;
  }
  if (!request.privileged && !base.apparmor_profile.empty()) {
    header.label_apparmor = writer.text("exec " + base.apparmor_profile);
  }
  header.label_exec = writer.optional_text(base.selinux_label);
}

void put_settings(const ExecPlanBase& base, const ExecRequest& request, PlanHeader& header) {
  if (request.new_session) header.flags |= kPlanSetsid;
  if (base.reset_affinity) header.flags |= kPlanResetAffinity;
  if (base.rootless) header.flags |= kPlanUserNamespaceFirst;
  if (base.oom_score_adj) {
    header.flags |= kPlanOomScoreAdj;
    header.oom_score_adj = *base.oom_score_adj;
  }
  std::optional<std::uint32_t> umask = request.umask ? request.umask : base.umask;
  if (umask) {
    header.flags |= kPlanUmask;
    header.umask = *umask;
  }
  if (base.personality) {
    header.flags |= kPlanPersonality;
    header.personality = *base.personality;
  }
  if (base.io_priority) {
    header.flags |= kPlanIoPriority;
    header.io_priority = *base.io_priority;
  }
  if (base.scheduler) {
    header.flags |= kPlanScheduler;
    header.scheduler_policy = base.scheduler->policy;
    header.scheduler_nice = base.scheduler->nice;
    header.scheduler_priority = base.scheduler->priority;
    header.scheduler_flags = base.scheduler->flags;
    header.scheduler_runtime = base.scheduler->runtime;
    header.scheduler_deadline = base.scheduler->deadline;
    header.scheduler_period = base.scheduler->period;
  }
  if (request.tty) {
    header.flags |= kPlanTty;
    header.tty_rows = request.tty_rows;
    header.tty_columns = request.tty_columns;
  }
  header.pdeathsig = static_cast<std::uint32_t>(request.pdeathsig);
  header.namespaces = base.namespaces;
}

}  // namespace

ExecPlanBase host_exec_plan_base() {
  ExecPlanBase base;
  base.change_identity = false;
  base.reset_affinity = false;
  return base;
}

Result<std::vector<std::string>> merge_env(const std::vector<std::string>& base,
                                           const std::vector<std::string>& extra) {
  std::vector<const std::string*> all;
  for (const std::string& entry : base) all.push_back(&entry);
  for (const std::string& entry : extra) all.push_back(&entry);
  std::vector<std::string> merged;
  std::vector<std::string_view> seen;
  for (auto at = all.rbegin(); at != all.rend(); ++at) {
    const std::string& entry = **at;
    std::size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0 || entry.find('\0') != std::string::npos) {
      return fail(Errc::invalid, "cannot use environment entry \"" + entry + "\": not NAME=VALUE");
    }
    std::string_view name = std::string_view(entry).substr(0, equals);
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) continue;
    seen.push_back(name);
    if (entry == "HOME=") continue;  // enter adds the right one
    merged.push_back(entry);
  }
  std::reverse(merged.begin(), merged.end());
  return merged;
}

Result<ExecPlan> build_exec_plan(const ExecPlanBase& base, const ExecRequest& request,
                                 const ExecFds& fds) {
  if (Status ok = check_request(base, request, fds); !ok) return fail(ok.error());
  static const std::vector<std::string> kNone;
  Result<std::vector<std::string>> env =
      merge_env(request.env_replaces ? kNone : base.env, request.env);
  if (!env) return fail(env.error());

  PlanHeader header;
  PlanWriter writer;
  std::vector<std::uint32_t> cgroup_numbers;
  ExecPlan plan;
  plan.fds = assign_fds(base, request, fds, header, cgroup_numbers);
  header.cgroup_fds = writer.ids(cgroup_numbers);
  if (fds.cgroups_of_clones) {
    header.flags |= kPlanZygote;
    header.first_shared_cgroup = static_cast<std::uint32_t>(*fds.cgroups_of_clones);
  }
  header.rlimits = writer.add(base.rlimits.data(), sizeof(PlanRlimit), base.rlimits.size(), 8);
  put_identity(base, request, header, writer);
  put_privileges(base, request, header, writer);
  put_settings(base, request, header);
  if (!has_value(*env, "HOME")) {
    if (base.home && request.user.empty()) {
      env->push_back("HOME=" + *base.home);
    } else {
      header.flags |= kPlanLookUpHome;
    }
  }
  header.keyring_name = writer.optional_text(base.keyring);
  header.cwd = writer.text(request.cwd.empty() ? base.cwd : request.cwd);
  header.argv = writer.strings(request.argv, 1);
  header.env = writer.strings(*env, kPlanEnvSpare);
  if (writer.size() >= kPlanBytesMax) {
    return fail(Errc::invalid, "cannot run the command: it and its environment exceed 4 MiB");
  }
  Result<UniqueFd> memfd = seal(writer.finish(header));
  if (!memfd) return fail(memfd.error());
  plan.memfd = std::move(*memfd);
  plan.fds[kPlanFd] = plan.memfd.get();
  return plan;
}

Result<ExecPlan> KeptPlan::build(const std::shared_ptr<const ExecPlanBase>& base,
                                 const ExecRequest& request, const ExecFds& fds) {
  if (memfd_ && base == base_ && request == request_ && same_kinds(fds, fds_)) {
    PlanHeader header;
    std::vector<std::uint32_t> cgroup_numbers;
    ExecPlan plan;
    plan.fds = assign_fds(*base, request, fds, header, cgroup_numbers);
    plan.fds[kPlanFd] = memfd_.get();
    return plan;
  }
  Result<ExecPlan> plan = build_exec_plan(*base, request, fds);
  if (!plan) return plan;
  base_ = base;
  request_ = request;
  fds_ = fds;
  memfd_ = std::move(plan->memfd);
  return plan;
}

}  // namespace keepwell
