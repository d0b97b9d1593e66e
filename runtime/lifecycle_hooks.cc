#include "runtime/lifecycle_hooks.h"

#include <fcntl.h>

#include "runtime/container.h"
#include "runtime/engine_context.h"

namespace keepwell {

namespace {

constexpr std::size_t kOutputKeptBytes = 1024;
constexpr Duration kDrainGrace = std::chrono::milliseconds(50);
constexpr Duration kHookTimeout = std::chrono::minutes(5);  // Compose waits without end

}  // namespace

LifecycleHooks::LifecycleHooks(EngineContext& context, Container& container,
                               std::vector<HookSpec> hooks)
    : context_(&context),
      container_(&container),
      hooks_(std::move(hooks)),
      capture_(context.loop),
      deadline_(context.loop),
      alive_(std::make_shared<bool>(true)) {}

LifecycleHooks::~LifecycleHooks() { *alive_ = false; }

void LifecycleHooks::begin(std::function<void(Status)> on_done) {
  on_done_ = std::move(on_done);
  context_->later([this, alive = alive_] {
    if (*alive) next();
  });
}

void LifecycleHooks::next() {
  if (at_ == hooks_.size()) return finish({});
  if (Status started = start(hooks_[at_]); !started) finish(started);
}

Status LifecycleHooks::start(const HookSpec& hook) {
  if (!container_->plan_base())
    return fail(Errc::unsupported,
                "cannot run a hook in " + container_->order().name + ": it cannot be entered");
  EnterOrder enter;
  enter.base = container_->plan_base();
  enter.request.argv = hook.command;
  for (const auto& [name, value] : hook.environment) {
    enter.request.env.push_back(name);
    enter.request.env.back() += "=" + value;
  }
  enter.request.user = hook.user;
  if (hook.user.empty() && container_->order().spec->runtime == RuntimeKind::process)
    enter.request.user = container_->order().spec->user;
  enter.request.cwd = hook.working_dir;
  enter.request.privileged = hook.privileged;
  if (hook.privileged) container_->forbid_zygotes();
  enter.target_pidfd = container_->target_pidfd();
  enter.target_root = container_->target_root();
  Result<UniqueFd> output = capture_.open(kOutputKeptBytes);
  if (!output) return fail(output.error());
  enter.stdio = {context_->null.get(), output->get(), output->get()};
  if (context_->cgroups) {
    leaves_ = container_->exec_leaves();
    Result<std::unique_ptr<ExecLeaf>> leaf = leaves_->take();
    if (!leaf) return fail(leaf.error());
    leaf_ = std::move(*leaf);
    enter.cgroup_procs = leaf_->join;
    if (!context_->cgroups->layout.unified_mount.empty())
      enter.kill_cgroup = context_->cgroups->layout.unified_mount + leaf_->cgroup.path();
  }
  auto process = EnterProcess::start(
      context_->loop, context_->keeper, enter,
      {.on_running = [] {},
       .on_failed = [this](const EnterReport& report) { ended(report.text); },
       .on_exited =
           [this](const ExitRecord& record) {
             int status = record.status();
             ended(status == 0 ? "" : "it ended with " + std::to_string(status));
           }});
  if (!process) return fail(process.error());
  process_ = std::move(*process);
  deadline_.start_after(kHookTimeout, [this] {
    if (leaf_) (void)leaf_->cgroup.kill();
    process_->kill_group();
    deadline_.start_after(kHookTimeout, [this] { ended("it cannot be killed"); });
  });
  return {};
}

// HOW is empty where it went well.
void LifecycleHooks::ended(const std::string& how) {
  deadline_.stop();
  // It is in the middle of calling us.
  context_->later([process = std::shared_ptr<EnterProcess>(std::move(process_))] {});
  capture_.finish(kDrainGrace, [this, how] {
    if (leaf_) leaves_->give_back(std::move(leaf_));
    if (how.empty()) {
      ++at_;
      return next();
    }
    std::string text = "cannot run hook " + hooks_[at_].command.front() + " in " +
                       container_->order().name + ": " + how;
    std::string said = capture_.take();
    while (!said.empty() && said.back() == '\n') said.pop_back();
    if (!said.empty()) text += ": " + said;
    finish(fail(Errc::os, text));
  });
}

void LifecycleHooks::finish(Status result) { std::exchange(on_done_, nullptr)(std::move(result)); }

}  // namespace keepwell
