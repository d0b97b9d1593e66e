// Runs the hooks of a service (post_start, pre_stop) in its container, one after the other, as exec
// sessions are run: in its namespaces and cgroup, so that they end with it. The first that fails is
// the last. (What a check sets off on the host: host_hooks.h.)
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "config/spec.h"
#include "runtime/enter_process.h"
#include "runtime/exec_leaves.h"
#include "runtime/output_capture.h"
#include "runtime/timer.h"

namespace keepwell {

class Container;
class EngineContext;

class LifecycleHooks {
 public:
  // REQUIRES: CONTAINER is running and outlives this object; HOOKS is not empty.
  LifecycleHooks(EngineContext& context, Container& container, std::vector<HookSpec> hooks);
  ~LifecycleHooks();

  // Calls ON_DONE once, later and from the loop, with the reason where a hook failed; it may
  // destroy this object. Destroying it before forgets the hook that runs.
  void begin(std::function<void(Status)> on_done);

 private:
  void next();
  Status start(const HookSpec& hook);
  void ended(const std::string& how);
  void finish(Status result);

  EngineContext* context_;
  Container* container_;
  std::vector<HookSpec> hooks_;
  std::size_t at_ = 0;
  std::function<void(Status)> on_done_;
  OutputCapture capture_;
  Timer deadline_;
  std::shared_ptr<ExecLeaves> leaves_;
  std::unique_ptr<ExecLeaf> leaf_;
  std::unique_ptr<EnterProcess> process_;
  std::shared_ptr<bool> alive_;
};

}  // namespace keepwell
