#include "runtime/oci/seccomp_profile.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>
#include <vector>

namespace keepwell {

namespace {

using nlohmann::json;

// Always allowed, by topic.
constexpr std::string_view kAllowed[] = {
    // files by name
    "access creat faccessat faccessat2 link linkat mkdir mkdirat mknod mknodat open openat openat2 "
    "readlink readlinkat "
    "rename renameat renameat2 rmdir symlink symlinkat truncate truncate64 unlink unlinkat "
    "name_to_handle_at",
    "chmod chown chown32 fchmod fchmodat fchmodat2 fchown fchown32 fchownat lchown lchown32 umask "
    "futimesat utime utimes "
    "utimensat utimensat_time64",
    "stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs "
    "fstatfs64",
    "getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat setxattr "
    "lsetxattr fsetxattr "
    "setxattrat removexattr lremovexattr fremovexattr removexattrat",
    "chdir fchdir getcwd getdents getdents64 inotify_add_watch inotify_init inotify_init1 "
    "inotify_rm_watch fanotify_mark",
    // descriptors
    "close close_range dup dup2 dup3 fcntl fcntl64 flock ioctl lseek _llseek pipe pipe2 read readv "
    "pread64 preadv preadv2 "
    "write writev pwrite64 pwritev pwritev2 sendfile sendfile64 splice tee vmsplice "
    "copy_file_range readahead fadvise64 "
    "fadvise64_64 fallocate ftruncate ftruncate64 fsync fdatasync sync syncfs sync_file_range "
    "cachestat",
    "select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create epoll_create1 "
    "epoll_ctl "
    "epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd "
    "signalfd4 timerfd_create "
    "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64",
    "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit",
    // sockets
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg "
    "recvmmsg_time64 recvmsg "
    "send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair",
    // memory
    "brk madvise membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 "
    "mprotect mremap mseal msync "
    "munlock munlockall munmap map_shadow_stack pkey_alloc pkey_free pkey_mprotect "
    "process_mrelease remap_file_pages",
    // processes and threads
    "execve execveat exit exit_group fork vfork wait4 waitid waitpid getpid getppid gettid getpgid "
    "getpgrp setpgid getsid "
    "setsid set_tid_address arch_prctl set_thread_area get_thread_area get_robust_list "
    "set_robust_list rseq prctl "
    "pidfd_open pidfd_send_signal restart_syscall uname sysinfo seccomp getcpu getrusage times "
    "uretprobe",
    "futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue",
    "getpriority setpriority ioprio_get ioprio_set sched_getaffinity sched_getattr sched_getparam "
    "sched_get_priority_max "
    "sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 "
    "sched_setaffinity "
    "sched_setattr sched_setparam sched_setscheduler sched_yield",
    "getrlimit ugetrlimit setrlimit prlimit64 capget capset landlock_add_rule "
    "landlock_create_ruleset "
    "landlock_restrict_self",
    // signals
    "kill tkill tgkill rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn "
    "rt_sigsuspend "
    "rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn "
    "pause",
    // identity
    "getuid getuid32 getgid getgid32 geteuid geteuid32 getegid getegid32 getresuid getresuid32 "
    "getresgid getresgid32 "
    "getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 "
    "setresuid setresuid32 "
    "setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32",
    // time
    "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime "
    "clock_gettime64 "
    "clock_nanosleep clock_nanosleep_time64 getitimer setitimer gettimeofday nanosleep time "
    "timer_create timer_delete "
    "timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 getrandom",
    // System V and POSIX message queues, semaphores, shared memory
    "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend "
    "mq_timedsend_time64 mq_unlink "
    "msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl "
    "shmdt shmget",
    // kernels since 4.8 check seccomp after ptrace, so that a tracer cannot get round the filter
    "process_vm_readv process_vm_writev ptrace",
};

struct CapabilityRule {
  std::string_view capability;
  std::string_view names;
};
constexpr CapabilityRule kByCapability[] = {
    {"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
    {"CAP_SYS_ADMIN",
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount "
     "mount_setattr move_mount "
     "open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount "
     "umount2 unshare"},
    {"CAP_SYS_BOOT", "reboot"},
    {"CAP_SYS_CHROOT", "chroot"},
    {"CAP_SYS_MODULE", "delete_module init_module finit_module"},
    {"CAP_SYS_PACCT", "acct"},
    {"CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"},
    {"CAP_SYS_RAWIO", "iopl ioperm"},
    {"CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"},
    {"CAP_SYS_TTY_CONFIG", "vhangup"},
    {"CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
    {"CAP_SYSLOG", "syslog"},
    {"CAP_BPF", "bpf"},
    {"CAP_PERFMON", "perf_event_open"},
};

struct Architecture {
  std::string_view machine;  // uname -m
  std::string_view docker;   // the name in Docker profiles' includes
  std::string_view arches;   // native first, then those it also runs
  std::string_view extra;    // calls that exist only there
};
// x32 is left out: it would double the filter for an ABI that distributions no longer enable, and
// without it an x32 call ends the program instead of passing.
constexpr Architecture kArchitectures[] = {
    {"x86_64", "amd64", "SCMP_ARCH_X86_64 SCMP_ARCH_X86", "modify_ldt"},
    {"aarch64", "arm64", "SCMP_ARCH_AARCH64 SCMP_ARCH_ARM",
     "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"},
    {"riscv64", "riscv64", "SCMP_ARCH_RISCV64", "riscv_flush_icache"},
    {"ppc64le", "ppc64le", "SCMP_ARCH_PPC64LE", "sync_file_range2 swapcontext"},
    {"s390x", "s390x", "SCMP_ARCH_S390X SCMP_ARCH_S390",
     "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"},
};

// CLONE_NEW* of every namespace: mount, cgroup, uts, ipc, user, pid, net.
constexpr std::uint64_t kCloneNamespaces =
    0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000;
constexpr std::uint64_t kAddressFamilyVsock = 40;  // reaches the host past the network namespace

const Architecture& this_architecture() {
  utsname name{};
  uname(&name);
  for (const Architecture& known : kArchitectures)
    if (known.machine == name.machine) return known;
  return kArchitectures[0];
}

std::vector<std::string> words(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::vector<std::string> found;
  for (std::string word; in >> word;) found.push_back(word);
  return found;
}

json allow(std::vector<std::string> names) {
  return {{"names", std::move(names)}, {"action", "SCMP_ACT_ALLOW"}};
}

json allow_if(const char* name, int index, const char* op, std::uint64_t value) {
  json rule = allow({name});
  rule["args"] = json::array({{{"index", index}, {"value", value}, {"op", op}}});
  return rule;
}

bool holds_any(const json& list, const std::set<std::string>& capabilities) {
  return std::any_of(list.begin(), list.end(), [&](const json& one) {
    return one.is_string() && capabilities.contains(one.get<std::string>());
  });
}

bool holds_all(const json& list, const std::set<std::string>& capabilities) {
  return std::all_of(list.begin(), list.end(), [&](const json& one) {
    return one.is_string() && capabilities.contains(one.get<std::string>());
  });
}

// Whether Docker's includes and excludes let RULE apply here. minKernel is met by every kernel that
// keepwell runs on.
bool applies(const json& rule, const std::set<std::string>& capabilities) {
  std::string arch(this_architecture().docker);
  const json none = json::object();
  const json& includes = rule.contains("includes") ? rule["includes"] : none;
  const json& excludes = rule.contains("excludes") ? rule["excludes"] : none;
  auto names_arch = [&](const json& filter) {
    return std::find(filter["arches"].begin(), filter["arches"].end(), arch) !=
           filter["arches"].end();
  };
  if (excludes.contains("arches") && names_arch(excludes)) return false;
  if (excludes.contains("caps") && holds_any(excludes["caps"], capabilities)) return false;
  if (includes.contains("arches") && !includes["arches"].empty() && !names_arch(includes))
    return false;
  return !includes.contains("caps") || holds_all(includes["caps"], capabilities);
}

json architectures_of(const json& profile) {
  if (profile.contains("architectures")) return profile["architectures"];
  std::vector<std::string> ours = words(this_architecture().arches);
  for (const json& entry : profile.value("archMap", json::array())) {
    if (!entry.is_object() || entry.value("architecture", "") != ours[0]) continue;
    json found = json::array({ours[0]});
    for (const json& sub : entry.value("subArchitectures", json::array())) found.push_back(sub);
    return found;
  }
  return json::array({ours[0]});
}

}  // namespace

json default_seccomp_profile(const std::set<std::string>& capabilities) {
  const Architecture& arch = this_architecture();
  json rules = json::array();
  std::vector<std::string> names;
  for (std::string_view topic : kAllowed)
    for (std::string& name : words(topic)) names.push_back(std::move(name));
  for (std::string& name : words(arch.extra)) names.push_back(std::move(name));
  for (const CapabilityRule& rule : kByCapability)
    if (capabilities.contains(std::string(rule.capability)))
      for (std::string& name : words(rule.names)) names.push_back(std::move(name));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  rules.push_back(allow(std::move(names)));

  rules.push_back(allow_if("socket", 0, "SCMP_CMP_NE", kAddressFamilyVsock));
  // Linux, Linux with 32 bit layout (PER_LINUX32), both with UNAME26, and the query.
  for (std::uint64_t persona : {0x0u, 0x8u, 0x20000u, 0x20008u, 0xffffffffu})
    rules.push_back(allow_if("personality", 0, "SCMP_CMP_EQ", persona));
  if (!capabilities.contains("CAP_SYS_ADMIN")) {
    json clone =
        allow_if("clone", arch.docker == "s390x" ? 1 : 0, "SCMP_CMP_MASKED_EQ", kCloneNamespaces);
    clone["args"][0]["valueTwo"] = 0;
    rules.push_back(std::move(clone));
    rules.push_back({{"names", {"clone3"}}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", ENOSYS}});
  }
  return {{"defaultAction", "SCMP_ACT_ERRNO"},
          {"defaultErrnoRet", EPERM},
          {"architectures", words(arch.arches)},
          {"syscalls", std::move(rules)}};
}

Result<json> parse_seccomp_profile(const std::string& text, const std::string& path,
                                   const std::set<std::string>& capabilities) {
  std::string where = "cannot use seccomp profile " + path + ": ";
  try {
    json profile = json::parse(text);
    if (!profile.is_object() || !profile.contains("defaultAction"))
      return fail(Errc::invalid, where + "it is no JSON object with a defaultAction");
    json rules = json::array();
    for (json rule : profile.value("syscalls", json::array())) {
      if (!applies(rule, capabilities)) continue;
      if (rule.contains("name")) rule["names"] = json::array({rule["name"]});
      for (const char* of_docker : {"name", "includes", "excludes", "comment"})
        rule.erase(of_docker);
      if (rule.contains("args") && rule["args"].is_null()) rule.erase("args");
      rules.push_back(std::move(rule));
    }
    json oci = {{"defaultAction", profile["defaultAction"]},
                {"architectures", architectures_of(profile)},
                {"syscalls", std::move(rules)}};
    for (const char* key : {"defaultErrnoRet", "flags", "listenerPath", "listenerMetadata"})
      if (profile.contains(key)) oci[key] = profile[key];
    return oci;
  } catch (const json::exception& broken) {
    return fail(Errc::invalid, where + broken.what());
  }
}

}  // namespace keepwell
