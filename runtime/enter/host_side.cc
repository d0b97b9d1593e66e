// keepwell-enter, first half: what happens with the host's view of things. Started by the keeper's
// vfork + execveat, so it has an address space of its own from its first instruction: nothing that
// a container does to it reaches the keeper. It joins cgroups and namespaces, then clones with
// CLONE_PARENT: the clone is the keeper's child and lives in the target's pid namespace. This half
// says which process that is by its own name, which the keeper reads before it reaps it: no memory
// and no descriptor is needed for it that the clone would have too.
//
// The clone is given this program's memory instead of a copy, which saves half of a clone and the
// tearing down. It goes on only when this half has left that memory (see run_clone()).
//
// No libc, no allocation, no descriptor beyond those given. Everything here is one system call
// after another, in the order that matters (see each comment). Signals come blocked, and none of
// them ignored, since that would survive into the program: the keeper sees to both.
#include <linux/sched.h>

#include "runtime/enter/enter.h"
#include "runtime/enter/start.h"

namespace keepwell {
namespace {

constexpr long kDumpable = 4;  // PR_SET_DUMPABLE
// Started by anything but a keeper, say as the interpreter of `#!/proc/self/exe`: not executable.
constexpr int kNoRequest = 126;
constexpr std::uint64_t kUserNamespace = CLONE_NEWUSER;

struct KernelRlimit {
  std::uint64_t soft, hard;
};
struct SchedAttr {
  std::uint32_t size, policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime, deadline, period;
};

// What the clone goes on with.
struct Onward {
  Plan plan;
  long parent = 0;
  int host_half = 0;  // 1 until that half has left this memory: the kernel sets it to 0
  int named = 0;      // 1 once it has said who the clone is
} onward;

// Writes VALUE in decimal so that it ends before END; returns where it begins.
char* put_digits(char* end, long value) {
  do {
    *--end = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  return end;
}

void set_oom_score(const Plan& plan) {
  if (!plan.has(kPlanOomScoreAdj)) return;
  long value = plan.header->oom_score_adj;
  char digits[24];
  char* at = put_digits(digits + sizeof(digits), value < 0 ? -value : value);
  if (value < 0) *--at = '-';
  auto size = static_cast<unsigned long>(digits + sizeof(digits) - at);
  require(EnterStep::oom_score_adj, write_file("/proc/self/oom_score_adj", at, size));
}

// Raises hard limits while we may; inside.cc sets the exact values, after which some (nofile,
// nproc) would already hinder the rest of the way.
void raise_rlimits(const Plan& plan) {
  const auto* limits = plan.at<PlanRlimit>(plan.header->rlimits);
  for (std::uint32_t i = 0; i < plan.header->rlimits.count; ++i) {
    KernelRlimit now = {};
    require(EnterStep::rlimit, kernel(__NR_prlimit64, 0, limits[i].resource, 0, address(&now)));
    if (limits[i].hard <= now.hard) continue;
    now.hard = limits[i].hard;
    require(EnterStep::rlimit, kernel(__NR_prlimit64, 0, limits[i].resource, address(&now), 0));
  }
}

void set_scheduling(const Plan& plan) {
  const PlanHeader& header = *plan.header;
  if (plan.has(kPlanResetAffinity)) {
    unsigned char
        all[1024];  // 8192 CPUs; the kernel cuts it to the cpuset, hence after the cgroups
    __builtin_memset(all, 0xff, sizeof(all));
    require(EnterStep::affinity, kernel(__NR_sched_setaffinity, 0, sizeof(all), address(all)));
  }
  if (plan.has(kPlanScheduler)) {
    SchedAttr attr = {sizeof(SchedAttr),         header.scheduler_policy,
                      header.scheduler_flags,    header.scheduler_nice,
                      header.scheduler_priority, header.scheduler_runtime,
                      header.scheduler_deadline, header.scheduler_period};
    require(EnterStep::scheduler, kernel(__NR_sched_setattr, 0, address(&attr), 0));
  }
  if (plan.has(kPlanIoPriority)) {
    require(EnterStep::io_priority,
            kernel(__NR_ioprio_set, 1 /* PROCESS */, 0, header.io_priority));
  }
}

// On pipes that the host's root made, which a user namespace's root could not hand on.
void give_stdio_to_namespace_root(const Plan& plan) {
  if (plan.header->stdio_root_uid == kNoFd) return;
  for (int fd = 0; fd < 3; ++fd) {
    if (!is_pipe(fd)) continue;
    require(EnterStep::stdio,
            kernel(__NR_fchown, fd, plan.header->stdio_root_uid, plan.header->stdio_root_gid));
  }
}

// Through the host's /proc, never through one that the container may have made up. An exec label
// belongs to the task and is inherited by the clone; it takes effect at the program's execve.
void set_labels(const Plan& plan) {
  const PlanHeader& header = *plan.header;
  if (header.label_exec.count > 0) {
    require(EnterStep::label, write_file("/proc/self/attr/exec", plan.text(header.label_exec),
                                         header.label_exec.count));
  }
  if (header.label_apparmor.count > 0) {
    const char* text = plan.text(header.label_apparmor);
    long result = write_file("/proc/self/attr/apparmor/exec", text, header.label_apparmor.count);
    if (result == -2 /* ENOENT */) {
      result = write_file("/proc/self/attr/exec", text, header.label_apparmor.count);
    }
    require(EnterStep::label, result);
  }
}

// A mount namespace is joined at its own root. That is the container's, unless whoever made the
// container was itself in a chroot: then pivot_root left the namespace's root on the host, and only
// the target's own root is the container.
void enter_root(const Plan& plan) {
  if (plan.header->target_root == kNoFd) return;
  require(EnterStep::namespaces, kernel(__NR_fchdir, plan.header->target_root));
  require(EnterStep::namespaces, kernel(__NR_chroot, address(".")));
}

// Where the clone begins. It waits until the half that the host's view belongs to is gone: who may
// act on what the clone becomes is not to find one with other rights in the same memory. That half
// has nothing left to do but to say who this is, so the wait is short, mostly none. If it was
// killed before it could, nobody would know of this process, so it ends too.
[[noreturn]] void run_clone() {
  wait_until_zero(&onward.host_half, 1);
  if (onward.named == 0) stop(EnterStep::clone, -4 /* EINTR */);
  run_inside(onward.plan, onward.parent);
}

void name_clone(long pid) {
  char name[32] = {};
  char* at = put_digits(name + sizeof(name) - 1, pid);
  for (int i = kClonePrefixBytes; i > 0; --i) *--at = kClonePrefix[i - 1];
  kernel(__NR_prctl, 15 /* PR_SET_NAME */, address(at));
  __atomic_store_n(&onward.named, 1, __ATOMIC_RELEASE);
}

}  // namespace

void join_cgroups(const Plan& plan, std::uint32_t first, std::uint32_t end) {
  const auto* fds = plan.at<std::uint32_t>(plan.header->cgroup_fds);
  for (std::uint32_t i = first; i < end; ++i) {
    require(EnterStep::cgroup, kernel(__NR_write, fds[i], address("0"), 1));
  }
}

void close_descriptors(const Plan& plan) {
  close_fd(kPlanFd);
  std::uint32_t from = kPlanFirstFreeFd;
  if (plan.has(kPlanTty)) {
    std::uint32_t socket = plan.header->tty_socket;
    if (socket > from) {
      require(EnterStep::close_fds, kernel(__NR_close_range, from, socket - 1, 0));
    }
    from = socket + 1;
  }
  require(EnterStep::close_fds, kernel(__NR_close_range, from, 0xffffffff, 0));
}

// A user namespace last: the others belong to the host's root as often as to the container's. Only
// where we are nobody on the host (rootless) does it have to come first, that is, in one call.
void join_namespaces(const Plan& plan, std::uint64_t wanted) {
  long pidfd = plan.header->target_pidfd;
  if (wanted == 0) return;
  bool user = (wanted & kUserNamespace) != 0;
  if (user && plan.has(kPlanUserNamespaceFirst)) {
    require(EnterStep::user_namespace, kernel(__NR_setns, pidfd, static_cast<long>(wanted)));
  } else {
    auto others = static_cast<long>(wanted & ~kUserNamespace);
    if (others != 0) require(EnterStep::namespaces, kernel(__NR_setns, pidfd, others));
    if (user) {
      require(EnterStep::user_namespace,
              kernel(__NR_setns, pidfd, static_cast<long>(kUserNamespace)));
    }
  }
  if (user) {
    require(EnterStep::user_namespace, kernel(__NR_setresgid, 0, 0, 0));
    require(EnterStep::user_namespace, kernel(__NR_setresuid, 0, 0, 0));
    kernel(__NR_prctl, kDumpable, 0);  // changed credentials made us dumpable again
  }
}

// Cgroups come before the namespaces, one of which would hide them.
void enter_target(const Plan& plan) {
  set_oom_score(plan);
  raise_rlimits(plan);
  join_cgroups(plan, plan.header->first_shared_cgroup, plan.header->cgroup_fds.count);
  set_scheduling(plan);
  give_stdio_to_namespace_root(plan);
  set_labels(plan);
  std::uint64_t namespaces = plan.header->namespaces;
  if (plan.has(kPlanZygote)) namespaces &= ~std::uint64_t{CLONE_NEWCGROUP};
  join_namespaces(plan, namespaces);
  enter_root(plan);
}

[[noreturn]] void start_program(long argc, char**) {
  if (argc != 1) exit_process(kNoRequest);
  kernel(__NR_prctl, kDumpable, 0);
  kernel(__NR_fcntl, kStatusFd, 2 /* F_SETFD */, 1 /* FD_CLOEXEC */);

  Plan plan = load_plan();
  onward.plan = plan;
  onward.parent = plan.header->namespaces == 0 ? kernel(__NR_getppid) : 0;
  enter_target(plan);
  if (plan.has(kPlanZygote)) serve_as_zygote(plan);
  close_descriptors(plan);

  onward.host_half = 1;
  kernel(__NR_set_tid_address, address(&onward.host_half));
  long pid = clone_in_our_memory(run_clone);
  require(EnterStep::clone, pid);
  name_clone(pid);
  exit_process(0);
}

}  // namespace keepwell
