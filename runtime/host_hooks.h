// Runs programs on the host that a check sets off (x-keepwell.hooks). Each runs in a session and,
// where the host lets us make cgroups, in a cgroup of its own (<root>/hooks/hook-N), which is
// killed whole at its timeout and when something is left over after its end; so a hook that hangs
// or forks costs at most its timeout and kHookPidsMax processes. A few run at once, some more wait,
// the rest fails at once. They end with their agent. Private to the engine. (What a service's own
// hooks do in its container: lifecycle_hooks.h.)
#pragma once

#include <deque>
#include <map>
#include <memory>

#include "runtime/cgroup.h"
#include "runtime/engine.h"
#include "runtime/exec_plan.h"

namespace keepwell {

class EngineContext;

inline constexpr std::size_t kHooksAtOnce = 8;
inline constexpr std::size_t kHooksWaitingMax = 64;
inline constexpr std::int64_t kHookPidsMax = 256;

class HostHooks {
 public:
  explicit HostHooks(EngineContext& context);
  ~HostHooks();
  HostHooks(const HostHooks&) = delete;
  HostHooks& operator=(const HostHooks&) = delete;

  // Tells HookEnded through the context, once, later.
  void run(const HookOrder& order);

 private:
  struct Run;
  void begin(HookOrder order);
  Status spawn(Run& run);
  void timed_out(Run& run);
  void program_ended(Run& run);
  void wait_until_empty(Run& run);
  void finish(Run& run, std::string error);
  void refuse(HookId id, std::string text);
  Result<CgroupLeaf> make_leaf(std::size_t slot);

  EngineContext* context_;
  std::shared_ptr<const ExecPlanBase> base_;
  bool cgroup_made_ = false;
  std::map<std::size_t, std::unique_ptr<Run>> runs_;  // by slot
  std::deque<HookOrder> waiting_;
};

}  // namespace keepwell
