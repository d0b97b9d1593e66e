// One container (or `process` service) of the engine over all its runs:
//
//   idle --start--> starting --> running --exit--> cleaning --> idle
//                       \--failed-----------------> cleaning
//
// Its exit is told at once; what is left of the run (runtime state, cgroups, log streams) is
// removed while `cleaning`, and a start that comes then waits for the end of it. So there are never
// two copies. Private to the engine.
#pragma once

#include <signal.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/container_terminal.h"
#include "runtime/engine_context.h"
#include "runtime/enter_process.h"
#include "runtime/exec_leaves.h"
#include "runtime/lifecycle_hooks.h"
#include "runtime/oci_start.h"
#include "runtime/oom_watch.h"
#include "runtime/proc_info.h"
#include "runtime/timer.h"
#include "runtime/zygote.h"

namespace keepwell {

// Name of its terminal's master at the keeper.
std::string terminal_name(const ContainerRef& ref);

constexpr int kZygoteFailuresMax = 3;

// The cgroup in which the probes of one check run, one after the other, and what need not be found
// out again each time.
struct ProbeLeaf {
  CgroupLeaf cgroup;
  std::vector<int>
      join;  // what a probe joins: the leaf, and the payload's hierarchies that it does not cover
  Duration cpu{0};  // used by the probes before
  KeptPlan plan{};
  std::size_t own = 0;  // of `join`, from the first: not for a zygote, but for each of its clones
  std::unique_ptr<Zygote> zygote{};
  int zygote_failures = 0;  // at kZygoteFailuresMax there is no other in this run of the container
  // Zombies that the last probe had left in it and that were still there when the next one came.
  std::uint64_t orphans = 0;
};

class Container {
 public:
  Container(EngineContext& context, std::string id);
  ~Container();

  void start(const StartOrder& order);
  void adopt(const AdoptOrder& order);
  // The signal that stops it waits for the service's pre_stop hooks, for which the time of the stop
  // counts too; sent a second time it does not.
  Status signal(int number);
  void kill();
  void freeze(const ContainerRef& ref, bool frozen);
  // Kills and cleans what is left of a container that nobody adopts; a start that comes meanwhile
  // waits. REQUIRES: idle.
  void discard();
  // Removes everything of it, then calls ON_REMOVED, later. REQUIRES: not running.
  void remove(std::function<void()> on_removed);

  const std::string& id() const { return id_; }
  const StartOrder& order() const { return order_; }
  bool is(const ContainerRef& ref) const { return order_.container == ref; }
  bool running() const { return phase_ == Phase::running; }
  bool frozen() const { return frozen_; }
  // Whether somebody other than us has frozen it.
  bool frozen_from_outside() const;
  bool idle() const { return phase_ == Phase::idle && !queued_; }
  bool starting() const { return phase_ == Phase::starting; }

  // ---- for probes and exec sessions; REQUIRES: running()
  const std::shared_ptr<const ExecPlanBase>& plan_base() const { return run_.base; }
  int target_pidfd() const {
    return order_.spec->runtime == RuntimeKind::oci ? run_.pidfd.get() : -1;
  }
  // Its root directory, opened at the first call of a run; -1 where there is none. That its first
  // process has gone into another namespace since (`unshare`) is noticed here, within 10 s.
  int target_root();
  const std::vector<UniqueFd>& payload_cgroups() const { return run_.payload_cgroups; }
  pid_t pid() const { return run_.pid; }
  int pidfd() const { return run_.pidfd.get(); }
  std::string log_path() const;

  // The container's standard input, open for writing. Errc::unsupported without stdin_open and tty.
  Result<UniqueFd> open_stdin();
  Status resize(int rows, int columns);

  // A cgroup of its own for a probe of check NAME, the same one each time while it stays clean;
  // null where this host has none. Give it back with release_leaf(). Fails while the last probe of
  // the check is still in there, since it cannot be killed: there is never more than one of those.
  Result<std::shared_ptr<ProbeLeaf>> take_leaf(const std::string& name);
  // The cgroups of its exec sessions. REQUIRES: this host has cgroups.
  std::shared_ptr<ExecLeaves> exec_leaves();
  // A privileged process is about to run in there: no zygote from now on (Zygote::possible()).
  void forbid_zygotes();
  bool may_have_zygotes() const { return !run_.no_zygotes; }
  // What a process that is to live in the container's own cgroup joins.
  std::vector<int> join_fds() const;
  // CLEAN: nothing is left in it.
  void release_leaf(const std::string& name, const ProbeLeaf* leaf, bool clean);

 private:
  enum class Phase { idle, starting, running, cleaning };
  struct Leaf {
    std::shared_ptr<ProbeLeaf> probe;
    bool taken = false;
    bool clean = true;  // nothing was left in it
  };
  struct Run {  // what a running container has
    pid_t pid = 0;
    UniqueFd pidfd;
    UniqueFd root;
    NamespaceIds namespaces{};  // when last looked at
    Instant looked_at{};
    SpawnId spawn_id = 0;
    std::shared_ptr<const ExecPlanBase> base;
    std::vector<UniqueFd> payload_cgroups;
    std::shared_ptr<ExecLeaves> exec_leaves;  // made at the first session
    std::optional<CgroupLeaf> payload;        // of a `process` service
    std::unique_ptr<EnterProcess> process;    // of a `process` service that this agent started
    std::uint64_t oom_kills = 0;              // when it started
    std::map<std::string, Leaf> leaves;
    bool no_zygotes = false;
    std::vector<std::shared_ptr<CgroupLeaf>> abandoned;
  };

  // They are in some of the payload's cgroups, which the runtime's delete is to remove.
  void end_zygotes();
  Status send_signal(int number);
  int stop_signal() const;
  void run_post_start();
  void launch();
  void keep_terminal(UniqueFd master);
  void start_terminal(UniqueFd master);
  void launch_oci();
  void launch_process();
  Status spawn_process();
  std::shared_ptr<const ExecPlanBase> process_base() const;
  void launched(Launched result);
  void came_up(bool adopted, std::uint64_t start_ticks);
  void start_failed(int exit_code, std::string text);
  void exited(const ExitRecord& record);
  void tell_exit(const ExitRecord& record, bool oom_killed);
  static bool was_killed(const ExitRecord& record);
  bool adopt_inherited(const AdoptOrder& order);
  void adopt_stranger(const AdoptOrder& order);
  Status adopt_running(pid_t pid, UniqueFd pidfd, SpawnId spawn_id);
  void adopt_gone();
  void clean(std::function<void()> on_clean);
  void clean_network();
  void clean_cgroups();
  void cleaned();
  void poll_frozen(const ContainerRef& ref, bool frozen, Duration waited);
  LogStreamPlace log_place() const;

  EngineContext* context_;
  std::string id_;
  StartOrder order_;
  Phase phase_ = Phase::idle;
  std::optional<StartOrder> queued_;
  std::function<void()> queued_removal_;
  std::unique_ptr<OciStart> oci_start_;
  std::unique_ptr<EnterProcess> starting_process_;
  Run run_;
  std::unique_ptr<LifecycleHooks> hooks_;
  std::optional<ExitRecord> early_exit_;  // came before the start was told
  bool kill_wanted_ = false;
  bool frozen_ = false;
  std::function<void()> on_clean_;
  int cgroup_tries_ = 0;
  bool stopping_ = false;  // its pre_stop hooks were run
  Timer cgroup_timer_, freeze_timer_, hook_timer_;
  OomWatch oom_watch_;
  ContainerTerminal terminal_;
  int next_leaf_ = 1;
  std::shared_ptr<bool> alive_;
};

}  // namespace keepwell
