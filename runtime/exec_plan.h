// How a process gets into a container, or onto the host: what keepwell-enter is told to do.
//
// An ExecPlanBase is what all processes entered into one container have in common: namespaces,
// capabilities, limits, the compiled seccomp filter. It is made once, from the text of the
// container's own OCI config.json, and kept; per exec only an ExecRequest and its descriptors are
// added, which is a few microseconds of copying. The result is a sealed memfd (enter/plan_format.h)
// and the ordered list of descriptors that the keeper is asked to spawn with:
//
//   auto base = compile_exec_plan_base(config_json, {.id = id, .keyring = "_ses." + id});
//   auto plan = build_exec_plan(*base, request, {.stdio = {null, out, out}, .status = status_write,
//                                                .target_pidfd = init_pidfd, .cgroup_procs = ...});
//   keeper.spawn(plan->fds, ...);        // then read the status pipe: decode_enter_status()
//
// The fields of a base may be changed after compiling (the driver sets oom_score_adj of host
// processes, for example). Nothing here looks at a clock or keeps a descriptor open but what it
// returns.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/result.h"
#include "runtime/enter/plan_format.h"
#include "runtime/unique_fd.h"

namespace keepwell {

struct CapabilitySets {  // bit N is capability N
  std::uint64_t bounding = 0, effective = 0, permitted = 0, inheritable = 0, ambient = 0;

  bool operator==(const CapabilitySets&) const = default;
};

struct IdRange {  // one line of an OCI uidMappings
  std::uint32_t container = 0, host = 0, count = 0;
};

struct SchedulerSettings {
  std::uint32_t policy = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0, flags = 0;
  std::uint64_t runtime = 0, deadline = 0, period = 0;
};

// A seccomp filter as the kernel takes it; shared by all plans of a container.
struct SeccompProgram {
  std::string bytes;        // struct sock_filter[]
  std::uint32_t flags = 0;  // SECCOMP_FILTER_FLAG_*

  std::size_t instructions() const { return bytes.size() / 8; }
};

struct ExecPlanBase {
  // ---- what the container's config.json says
  std::uint64_t namespaces = 0;  // CLONE_NEW* that differ from the keeper's; 0: the host itself
  std::optional<CapabilitySets> capabilities;  // none: kept as the keeper's
  std::vector<PlanRlimit> rlimits;
  std::shared_ptr<const SeccompProgram> seccomp;  // none: unconfined
  bool no_new_privileges = false;
  std::optional<int> oom_score_adj;  // none: the keeper's own is inherited
  std::optional<std::uint32_t> umask;
  std::optional<std::uint64_t> personality;
  std::optional<SchedulerSettings> scheduler;
  std::optional<std::uint32_t> io_priority;
  std::string apparmor_profile;
  std::string selinux_label;
  std::string cgroup_path;                // linux.cgroupsPath as it stands there
  std::string rootfs;                     // root.path as it stands there
  bool passwd_in_rootfs = true;           // no mount hides the root's own /etc/passwd
  std::vector<IdRange> uid_map, gid_map;  // empty: no user namespace of its own

  // ---- what an exec takes unless it says otherwise: the container's process
  std::vector<std::string> env;
  std::string cwd = "/";
  bool change_identity = true;  // false: uid, gid and groups stay those of the keeper
  std::uint32_t uid = 0, gid = 0;
  std::vector<std::uint32_t> groups;

  // HOME where no env says it, for the user above. none: enter looks it up, for each exec.
  std::optional<std::string> home;

  // ---- not in config.json
  std::string keyring;  // session keyring to join; empty: the keeper's is kept
  bool reset_affinity = true;
  bool rootless = false;  // we are not root: the user namespace is joined first
};

struct ExecPlanOptions {
  std::string keyring{};  // runc's containers have "_ses.<id>", crun's "<id>"; empty: none
  bool rootless = false;
  // What the keeper has, so that the program would have it anyway: one write to /proc less.
  std::optional<int> inherited_oom_score_adj{};
};

// Compiles CONFIG_JSON, the text of a bundle's config.json. Cost: dominated by libseccomp, some
// milliseconds where there is a seccomp section, else some 10 us.
// Fails with Errc::invalid on text that is no OCI config, and with Errc::unsupported on what cannot
// be entered natively (SCMP_ACT_NOTIFY); the text then names `exec: runtime` as the way out.
Result<ExecPlanBase> compile_exec_plan_base(std::string_view config_json,
                                            const ExecPlanOptions& options = {});

// Processes on the host: `process` services and their probes, runtimes (`runc create`). Nothing is
// joined and the keeper's identity, limits and capabilities are kept; a session of its own, signals
// reset, no descriptor but 0-2. Set fields of it as needed (env, cwd, oom_score_adj, uid...).
ExecPlanBase host_exec_plan_base();

struct ExecRequest {
  std::vector<std::string> argv{};
  std::vector<std::string> env{};  // on top of the base's; the last of a name wins
  bool env_replaces = false;       // true: the base's env is left out
  // "user[:group]", each a name or digits, as `docker exec --user`: looked up by enter in the
  // target's own passwd and group files. Empty: the base's user.
  std::string user{};
  std::string cwd{};        // empty: the base's
  bool privileged = false;  // all capabilities that we have, no AppArmor profile; seccomp stays
  bool tty = false;         // 0-2 become a new terminal of the target; stdio below is then ignored
  std::uint16_t tty_rows = 0, tty_columns = 0;
  std::optional<std::uint32_t> umask{};
  int pdeathsig = 0;  // signal at the keeper's death; 0: none
  bool new_session = true;

  bool operator==(const ExecRequest&) const = default;
};

// Borrowed: all stay the caller's, and must stay open until the keeper has the message.
struct ExecFds {
  std::array<int, 3> stdio{-1, -1,
                           -1};     // all three REQUIRED (open /dev/null on the host, not inside)
  int status = -1;                  // REQUIRED: write end of the status pipe
  int target_pidfd = -1;            // REQUIRED when the base joins namespaces: the container's init
  int target_root = -1;             // the container's root directory (O_PATH), where it is known
  int tty_socket = -1;              // REQUIRED with tty: receives the master (SCM_RIGHTS, one byte)
  std::vector<int> cgroup_procs{};  // of CgroupLeaf::join_fds(), v2 leaf first
  // Said: the plan of a zygote (zygote.h), whose clones join so many of these themselves. `status`
  // is then its control socket, and stdio what its clones have before they are given their own.
  std::optional<std::size_t> cgroups_of_clones{};
  // REQUIRED for a zygote, of whose clones they are: the v2 cgroup, not among the above, and the
  // write end of a status pipe that serves one after the other.
  int leaf_directory = -1;
  int clone_status = -1;
};

struct ExecPlan {
  UniqueFd memfd;  // sealed; empty where a KeptPlan owns it
  std::vector<int>
      fds;  // fds[i] becomes descriptor i of keepwell-enter; borrowed, memfd among them
};

// Puts both together. Fails with Errc::invalid on an empty argv, a NUL byte or a bad `user`, on an
// env entry without '=', and when the plan would exceed kPlanBytesMax.
Result<ExecPlan> build_exec_plan(const ExecPlanBase& base, const ExecRequest& request,
                                 const ExecFds& fds);

// A plan for a request that comes again and again, a probe's. It holds one descriptor, and a page
// or two of memory.
class KeptPlan {
 public:
  // As build_exec_plan(); the memfd of the last call serves again where base, request and the kinds
  // of descriptors are the same. It stays this object's. REQUIRES: BASE has not changed.
  Result<ExecPlan> build(const std::shared_ptr<const ExecPlanBase>& base,
                         const ExecRequest& request, const ExecFds& fds);

 private:
  std::shared_ptr<const ExecPlanBase> base_;
  ExecRequest request_;
  ExecFds fds_;  // of which only what is there counts, not the numbers
  UniqueFd memfd_;
};

// The environment that such an exec gets, in runc's way: base's then request's, the last of a name
// wins and stands where it was last said; HOME is added by enter where it is missing or empty.
Result<std::vector<std::string>> merge_env(const std::vector<std::string>& base,
                                           const std::vector<std::string>& extra);

// ---- what came of it

struct EnterFailure {
  EnterStep step = EnterStep::none;
  int error_number = 0;
};

// BYTES is all that was read from the status pipe until it closed: nothing means that the program
// runs (none), otherwise where entering stopped. Anything else than 0 or 8 bytes is a failure of
// step `plan`.
std::optional<EnterFailure> decode_enter_status(std::string_view bytes);

// Who is to blame; probes must not fail for reasons of ours, and a container that is ending is not
// unhealthy.
enum class EnterBlame {
  program,  // not found, not executable, unknown user, bad cwd: a failed start, has exit code
  container_gone,  // its init ended while we were entering
  ours             // out of pids, memory or descriptors; a bug
};

// What dockerd puts before the text of a failed start.
inline constexpr const char* kExecFailedPrefix =
    "OCI runtime exec failed: exec failed: unable to start container process: ";

struct EnterReport {
  EnterBlame blame = EnterBlame::ours;
  int exit_code = 128;  // Docker's: 127 not found, 126 not executable, 128 else
  std::string text;     // runc's words, e.g. exec: "x": executable file not found in $PATH
};

// The failure in words, for REQUEST (argv[0], cwd, user) on BASE.
EnterReport explain_enter_failure(const EnterFailure& failure, const ExecPlanBase& base,
                                  const ExecRequest& request);

}  // namespace keepwell
