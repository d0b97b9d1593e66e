// The plan: what the agent tells keepwell-enter to do, as one sealed memfd. Both sides include this
// file and nothing else of each other; it needs no libc.
//
// The file is a PlanHeader, then a blob. Whatever has no fixed size lies in the blob and is named
// by a PlanRef: an offset from the start of the file and a count of elements. Strings end with NUL,
// and their PlanRef's count leaves the NUL out. argv and env are arrays of std::uint64_t offsets of
// strings; enter turns them into pointers where they lie, so each has a last, zero element which
// its count leaves out (env: kPlanEnvSpare of them, room for what enter adds).
//
// Descriptors are named by their number in the child, which is their index in the ordered list that
// the keeper was given. 0-2 are the program's stdio, then come these two and what the plan names:
#pragma once

#ifdef __cplusplus
#include <cstdint>
#endif

namespace keepwell {

inline constexpr int kPlanFd = 3;    // the plan itself
inline constexpr int kStatusFd = 4;  // write end of the status pipe; a zygote's control socket
inline constexpr int kPlanFirstFreeFd = 5;

// Once it has made the process that becomes the program, enter renames itself (/proc/PID/comm) to
// this and the pid of that process, as the keeper sees it.
inline constexpr char kClonePrefix[] = "made ";
inline constexpr int kClonePrefixBytes = sizeof(kClonePrefix) - 1;

// What a zygote is asked for on its control socket (SOCK_SEQPACKET): one byte with a descriptor,
// the program's output; and what it answers, in order. Its first answer, of pid 0, comes unasked:
// it is ready.
inline constexpr int kZygoteRequestFds = 1;
struct ZygoteAnswer {
  std::int32_t pid = 0;  // of the clone, as the keeper sees it; else a negative errno
};

inline constexpr std::uint32_t kPlanMagic = 0x6e706b77;  // "wkpn"
inline constexpr std::uint32_t kPlanVersion = 2;
inline constexpr std::uint32_t kPlanBytesMax = 4u << 20;  // argv and env of one exec
inline constexpr std::uint32_t kPlanEnvSpare = 2;         // HOME, and the closing zero
inline constexpr std::uint32_t kNoFd = 0xffffffff;

// A search path longer than this is not searched (ENOENT): a hostile PATH costs no time.
inline constexpr std::uint32_t kSearchPathBytesMax = 4096;
inline constexpr std::uint32_t kSearchPathEntriesMax = 128;

struct PlanRef {
  std::uint32_t offset = 0;  // from the start of the plan; 0: absent
  std::uint32_t count = 0;
};

enum PlanFlags : std::uint64_t {
  kPlanSetsid = 1u << 0,
  kPlanOomScoreAdj = 1u << 1,
  kPlanUmask = 1u << 2,
  kPlanIdentity = 1u << 3,      // groups, gid, uid; without it the keeper's are kept
  kPlanCapabilities = 1u << 4,  // the five sets below
  kPlanNoNewPrivileges = 1u << 5,
  kPlanResetAffinity = 1u << 6,  // all CPUs that the cpuset allows
  kPlanTty = 1u << 7,            // allocate one in the target and send its master to tty_socket
  kPlanPersonality = 1u << 8,
  kPlanScheduler = 1u << 9,
  kPlanIoPriority = 1u << 10,
  kPlanLookUpUser = 1u << 11,  // user_spec is looked up in the target's passwd and group files
  kPlanLookUpHome = 1u << 12,  // env has no HOME: take it from the target's passwd file
  kPlanSetgroupsMayFail = 1u << 13,    // rootless: a user namespace that denies setgroups
  kPlanUserNamespaceFirst = 1u << 14,  // rootless: only its user namespace gives us the others
  kPlanChownStdio =
      1u << 15,  // pipes on 0-2 are given to the target user, so that it can reopen them
  // Not one program but one for each request on kStatusFd (zygote.cc). Its clones, not itself, go
  // into leaf_directory, join the cgroup_fds before first_shared_cgroup and go into a cgroup
  // namespace. Neither a terminal nor a user namespace. What the clones need of the descriptors
  // lies together, from kPlanFirstFreeFd on.
  kPlanZygote = 1u << 16,
  kPlanFlagEnd = 1u << 17,
};

struct PlanRlimit {
  std::uint32_t resource = 0;  // RLIMIT_*
  std::uint32_t reserved = 0;
  std::uint64_t soft = 0;  // ~0: unlimited
  std::uint64_t hard = 0;
};

struct PlanHeader {
  std::uint32_t magic = kPlanMagic;
  std::uint32_t version = kPlanVersion;
  std::uint32_t header_bytes = 0;  // sizeof(PlanHeader); another value is another version
  std::uint32_t total_bytes = 0;   // of the whole file
  std::uint64_t flags = 0;         // PlanFlags; an unknown one is refused

  // ---- before the namespaces are joined
  std::int32_t oom_score_adj = 0;
  std::uint32_t pdeathsig = 0;  // 0: none. Sent to the program when the keeper ends
  PlanRef rlimits;              // PlanRlimit
  PlanRef cgroup_fds;           // std::uint32_t: open cgroup.procs or tasks files, each gets "0"
  std::uint32_t scheduler_policy = 0;
  std::int32_t scheduler_nice = 0;
  std::uint32_t scheduler_priority = 0;
  std::uint32_t scheduler_flags = 0;
  std::uint64_t scheduler_runtime = 0;
  std::uint64_t scheduler_deadline = 0;
  std::uint64_t scheduler_period = 0;
  std::uint32_t io_priority = 0;         // class << 13 | level
  std::uint32_t stdio_root_uid = kNoFd;  // pipes on 0-2 go to this host uid before a user namespace
                                         // is joined (its root); kNoFd: left alone
  PlanRef label_exec;      // written to the host's /proc/self/attr/exec ("exec PROFILE" too)
  PlanRef label_apparmor;  // to attr/apparmor/exec, or attr/exec where that is missing

  // ---- namespaces
  std::uint64_t namespaces = 0;           // CLONE_NEW* to join; 0: stay on the host
  std::uint32_t target_pidfd = kNoFd;     // of a process in them
  std::uint32_t tty_socket = kNoFd;       // gets the tty's master by SCM_RIGHTS, one byte of data
  std::uint32_t target_root = kNoFd;      // of the target's root directory; see join_namespaces()
  std::uint32_t first_shared_cgroup = 0;  // see kPlanZygote
  std::uint32_t leaf_directory = kNoFd;   // the v2 cgroup in which clones begin
  std::uint32_t clone_status = kNoFd;     // their status pipe, the same for all of them

  // ---- inside
  PlanRef keyring_name;  // session keyring to join; absent: the keeper's is kept
  std::uint16_t tty_rows = 0;
  std::uint16_t tty_columns = 0;  // 0 by 0: left as the kernel makes it
  std::uint32_t umask = 0;
  std::uint64_t personality = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  PlanRef groups;     // std::uint32_t; with kPlanLookUpUser: added to those found
  PlanRef user_spec;  // "name", "uid", "name:group", ...
  std::uint64_t caps_bounding = 0;
  std::uint64_t caps_effective = 0;
  std::uint64_t caps_permitted = 0;
  std::uint64_t caps_inheritable = 0;
  std::uint64_t caps_ambient = 0;
  PlanRef seccomp;  // struct sock_filter
  std::uint32_t seccomp_flags = 0;
  std::uint32_t stdio_root_gid = kNoFd;  // goes with stdio_root_uid
  PlanRef cwd;                           // absolute
  PlanRef argv;                          // offsets
  PlanRef env;                           // offsets; the first PATH= of it is searched
};

// Where entering stopped. What enter writes to the status pipe is one PlanFailure; a pipe that
// closes without one means that the program runs. The numbers are part of the format.
enum class EnterStep : std::uint32_t {
  none = 0,
  plan,  // not a plan, a wrong version, or a reference out of bounds
  oom_score_adj,
  rlimit,
  affinity,
  scheduler,
  io_priority,
  cgroup,
  stdio,
  label,
  namespaces,
  user_namespace,
  clone,
  session,
  keyring,
  tty,
  user_lookup,   // reading or understanding the target's passwd and group files
  user_unknown,  // no such user there; error_number is ENOENT
  group_unknown,
  cwd,
  cwd_outside,  // the directory is not within the target's root
  umask,
  personality,
  no_new_privileges,
  seccomp,
  close_fds,
  capabilities,
  groups,
  gid,
  uid,
  ambient,
  path_lookup,  // argv[0] has no slash and is nowhere on PATH
  program,      // argv[0] has a slash and cannot be executed: missing, a directory, no permission
  exec,         // execve itself refused: bad format, missing interpreter
  parent_gone,
};

struct PlanFailure {
  std::uint32_t step = 0;  // EnterStep
  std::int32_t error_number = 0;
};

static_assert(sizeof(PlanRef) == 8 && sizeof(PlanRlimit) == 24 && sizeof(PlanFailure) == 8);

}  // namespace keepwell
