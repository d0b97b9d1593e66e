// keepwell-enter, second half: the keeper's child, already in the target's namespaces, on its way
// to being the program. It cannot be read or traced from inside (not dumpable) short of
// CAP_SYS_PTRACE, and has nothing to be read: the plan of this exec, 0-2, the status pipe (a
// zygote's clone, for which nobody there has that capability, its zygote's memory too).
#include <linux/prctl.h>

#include "runtime/enter/enter.h"

namespace keepwell {
namespace {

constexpr long kMinusOne = -1;

struct KernelRlimit {
  std::uint64_t soft, hard;
};
struct CapHeader {
  std::uint32_t version;
  int pid;
};
struct CapData {
  std::uint32_t effective, permitted, inheritable;
};

long prctl(long option, long a = 0, long b = 0, long c = 0, long d = 0) {
  return kernel(__NR_prctl, option, a, b, c, d);
}

void start_session(const Plan& plan) {
  if (plan.has(kPlanSetsid)) require(EnterStep::session, kernel(__NR_setsid));
  std::uint64_t none = 0;
  kernel(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, address(&none), 0, 8);
}

void set_rlimits(const Plan& plan) {
  const auto* limits = plan.at<PlanRlimit>(plan.header->rlimits);
  for (std::uint32_t i = 0; i < plan.header->rlimits.count; ++i) {
    KernelRlimit value{limits[i].soft, limits[i].hard};
    require(EnterStep::rlimit, kernel(__NR_prlimit64, 0, limits[i].resource, address(&value), 0));
  }
}

// CVE-2024-21626: a working directory that was reached through a descriptor of the host's has no
// path within our root; the kernel then says "(unreachable)".
void require_cwd_inside() {
  char path[4096];
  long size = kernel(__NR_getcwd, address(path), sizeof(path));
  if (size < 0) stop(EnterStep::cwd_outside, size);
  if (path[0] != '/') stop(EnterStep::cwd_outside, -2 /* ENOENT */);
}

// Returns whether it has to be tried again as the target user (root may lack DAC_OVERRIDE, say on
// NFS).
bool change_directory(const Plan& plan) {
  long result = kernel(__NR_chdir, address(plan.text(plan.header->cwd)));
  if (result == -13 /* EACCES */) return true;
  require(EnterStep::cwd, result);
  require_cwd_inside();
  return false;
}

void set_identity(const Plan& plan, const Identity& identity) {
  if (plan.has(kPlanCapabilities)) {
    require(EnterStep::capabilities, prctl(PR_SET_KEEPCAPS, 1));
  }
  long result = kernel(__NR_setgroups, identity.group_count, address(identity.groups));
  bool denied = result == -1 /* EPERM */ && plan.has(kPlanSetgroupsMayFail);
  if (!denied) require(EnterStep::groups, result);
  require(EnterStep::gid, kernel(__NR_setresgid, identity.gid, identity.gid, identity.gid));
  require(EnterStep::uid, kernel(__NR_setresuid, identity.uid, identity.uid, identity.uid));
  prctl(PR_SET_DUMPABLE, 0);  // changed credentials reset it
}

void set_capabilities(const Plan& plan) {
  if (!plan.has(kPlanCapabilities)) return;
  const PlanHeader& header = *plan.header;
  require(EnterStep::capabilities, prctl(PR_SET_KEEPCAPS, 0));
  CapHeader version{0x20080522 /* version 3 */, 0};
  CapData data[2];
  for (int half = 0; half < 2; ++half) {
    int shift = 32 * half;
    data[half] = {static_cast<std::uint32_t>(header.caps_effective >> shift),
                  static_cast<std::uint32_t>(header.caps_permitted >> shift),
                  static_cast<std::uint32_t>(header.caps_inheritable >> shift)};
  }
  require(EnterStep::capabilities, kernel(__NR_capset, address(&version), address(data)));
  require(EnterStep::ambient, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL));
  for (long capability = 0; capability < 64; ++capability) {
    if ((header.caps_ambient >> capability & 1) == 0) continue;
    require(EnterStep::ambient, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability));
  }
}

// So that a program that opens /dev/stdout again may. Best effort, as the runtimes do it.
void give_stdio(const Plan& plan, std::uint32_t uid) {
  if (!plan.has(kPlanChownStdio) || plan.has(kPlanTty)) return;
  for (int fd = 0; fd < 3; ++fd) {
    if (is_pipe(fd)) kernel(__NR_fchown, fd, uid, kMinusOne);
  }
}

void set_death_signal(const Plan& plan, long parent) {
  if (plan.header->pdeathsig == 0) return;
  prctl(PR_SET_PDEATHSIG, plan.header->pdeathsig);
  if (parent != 0 && kernel(__NR_getppid) != parent) stop(EnterStep::parent_gone, -3 /* ESRCH */);
}

}  // namespace

void join_keyring(const Plan& plan) {
  if (plan.header->keyring_name.offset == 0) return;
  long result = kernel(__NR_keyctl, 1 /* JOIN_SESSION_KEYRING */,
                       address(plan.text(plan.header->keyring_name)));
  bool missing = result == -38 /* ENOSYS */ || result == -95 /* EOPNOTSUPP */;
  if (!missing) require(EnterStep::keyring, result);
}

void drop_bounding(const Plan& plan) {
  if (!plan.has(kPlanCapabilities)) return;
  for (long capability = 0; capability < 64; ++capability) {
    if ((plan.header->caps_bounding >> capability & 1) != 0) continue;
    long result = prctl(PR_CAPBSET_DROP, capability);
    if (result == -22 /* EINVAL */) break;  // past the last one that this kernel has
    require(EnterStep::capabilities, result);
  }
}

[[noreturn]] void run_inside(const Plan& plan, long parent) {
  start_session(plan);
  const bool of_zygote = plan.has(kPlanZygote);
  if (!of_zygote) join_keyring(plan);
  Identity identity = look_up_identity(plan);
  if (plan.has(kPlanTty)) open_terminal(plan, identity.uid);
  set_rlimits(plan);
  bool retry_cwd = change_directory(plan);
  if (plan.has(kPlanUmask)) kernel(__NR_umask, plan.header->umask);
  if (plan.has(kPlanPersonality)) {
    require(EnterStep::personality,
            kernel(__NR_personality, static_cast<long>(plan.header->personality)));
  }
  give_stdio(plan, identity.uid);
  bool no_new_privileges = plan.has(kPlanNoNewPrivileges);
  // Without no_new_privs only CAP_SYS_ADMIN may attach a filter, so it has to be now, and the
  // filter has to allow the calls below; with it, it comes last.
  if (no_new_privileges) {
    require(EnterStep::no_new_privileges, prctl(PR_SET_NO_NEW_PRIVS, 1));
  } else {
    attach_seccomp(plan);
  }
  if (!of_zygote) drop_bounding(plan);
  if (plan.has(kPlanIdentity)) set_identity(plan, identity);
  if (retry_cwd && change_directory(plan)) stop(EnterStep::cwd, -13 /* EACCES */);
  set_capabilities(plan);
  set_death_signal(plan, parent);
  execute(plan);
}

}  // namespace keepwell
