#include "runtime/host_hooks.h"

#include <unistd.h>

#include <utility>

#include "runtime/engine_context.h"
#include "runtime/enter_process.h"
#include "runtime/memory_file.h"
#include "runtime/output_capture.h"

namespace keepwell {

namespace {

constexpr std::size_t kKeptBytes = 4096;
constexpr std::uint64_t kFloodBytes = 64u << 20;
constexpr Duration kDrainGrace = std::chrono::milliseconds(50);
constexpr Duration kEmptyTimeout = std::chrono::seconds(2);
constexpr Duration kEmptyPoll = std::chrono::milliseconds(10);

}  // namespace

struct HostHooks::Run {
  Run(Loop& loop, HookOrder hook) : order(std::move(hook)), capture(loop), timer(loop) {}

  HookOrder order;
  std::size_t slot = 0;
  OutputCapture capture;
  Timer timer;
  std::optional<CgroupLeaf> leaf;
  std::unique_ptr<EnterProcess> process;
  bool killed = false;
  bool ending = false;
  int code = 128;
  Instant give_up_at{};

  void kill() {
    killed = true;
    if (leaf) (void)leaf->kill();
    if (process) process->kill_group();
  }
};

HostHooks::HostHooks(EngineContext& context) : context_(&context), base_(host_command_base()) {}

HostHooks::~HostHooks() = default;

void HostHooks::run(const HookOrder& order) {
  if (runs_.size() < kHooksAtOnce) return begin(order);
  if (waiting_.size() < kHooksWaitingMax) {
    waiting_.push_back(order);
    return;
  }
  refuse(order.id, "cannot run hook " + order.name + ": " + std::to_string(kHooksWaitingMax) +
                       " others wait already");
}

void HostHooks::refuse(HookId id, std::string text) {
  context_->later([context = context_, id, text = std::move(text)] {
    context->emit(HookEnded{.hook = id, .code = 128, .error = text});
  });
}

void HostHooks::begin(HookOrder order) {
  std::size_t slot = 0;
  while (runs_.contains(slot)) ++slot;
  auto made = std::make_unique<Run>(context_->loop, std::move(order));
  made->slot = slot;
  Run& run = *runs_.emplace(slot, std::move(made)).first->second;
  if (Status spawned = spawn(run); !spawned) {
    run.timer.start_after(Duration{0}, [this, &run, text = spawned.error().text] {
      finish(run, "cannot run it: " + text);
    });
  }
}

Result<CgroupLeaf> HostHooks::make_leaf(std::size_t slot) {
  if (!cgroup_made_) {
    Status made = create_container_cgroup(*context_->cgroups, "hooks", {});
    if (!made) return fail(made.error());
    cgroup_made_ = true;
  }
  CgroupLimits limits;
  limits.pids = kHookPidsMax;
  return CgroupLeaf::create(*context_->cgroups, "hooks", "hook-" + std::to_string(slot), limits);
}

Status HostHooks::spawn(Run& run) {
  Result<UniqueFd> output = run.capture.open(kKeptBytes, kFloodBytes, [&run] { run.kill(); });
  if (!output) return fail(output.error());
  Result<UniqueFd> input = memory_file(run.order.input);
  if (!input) return fail(input.error());

  EnterOrder enter;
  enter.base = base_;
  enter.request.argv = run.order.command;
  for (const auto& [name, value] : run.order.env) enter.request.env.push_back(name + "=" + value);
  enter.request.cwd = "/";
  enter.stdio = {input->get(), output->get(), output->get()};
  if (context_->cgroups) {
    Result<CgroupLeaf> leaf = make_leaf(run.slot);
    if (!leaf) return fail(leaf.error());
    run.leaf = std::move(*leaf);
    enter.cgroup_procs = run.leaf->join_fds({});
    if (!context_->cgroups->layout.unified_mount.empty())
      enter.kill_cgroup = context_->cgroups->layout.unified_mount + run.leaf->path();
  }
  auto process =
      EnterProcess::start(context_->loop, context_->keeper, enter,
                          {.on_running =
                               [&run] {
                                 if (run.killed)
                                   run.kill();  // that came before there was a process to kill
                               },
                           .on_failed =
                               [this, &run](const EnterReport& report) {
                                 run.code = report.exit_code;
                                 finish(run, "cannot run it: " + report.text);
                               },
                           .on_exited =
                               [this, &run](const ExitRecord& record) {
                                 run.code = record.status();
                                 program_ended(run);
                               }});
  if (!process) return fail(process.error());
  run.process = std::move(*process);
  run.timer.start_after(run.order.timeout, [this, &run] { timed_out(run); });
  return {};
}

void HostHooks::timed_out(Run& run) {
  run.kill();
  // One that cannot be killed (disk wait) must not hold up what waits for it.
  run.timer.start_after(kEmptyTimeout, [this, &run] { program_ended(run); });
}

void HostHooks::program_ended(Run& run) {
  if (std::exchange(run.ending, true)) return;
  run.timer.stop();
  run.capture.finish(kDrainGrace, [this, &run] {
    run.give_up_at = Loop::now().mono + kEmptyTimeout;
    wait_until_empty(run);
  });
}

// What it left behind is killed with it.
void HostHooks::wait_until_empty(Run& run) {
  bool empty = true;
  if (run.leaf) {
    Result<CgroupLeaf::Inside> inside = run.leaf->inside();
    empty = !inside || !inside->populated || Loop::now().mono >= run.give_up_at;
    if (!empty) (void)run.leaf->kill();
  } else if (run.process) {
    run.process->kill_group();
  }
  if (!empty) {
    run.timer.start_after(kEmptyPoll, [this, &run] { wait_until_empty(run); });
    return;
  }
  std::string error;
  if (run.killed) {
    error = run.capture.total_bytes() > kFloodBytes ? "it wrote more than 64 MiB and was killed"
                                                    : "it took too long and was killed";
  } else if (run.code != 0) {
    error = "it exited with " + std::to_string(run.code);
  }
  finish(run, std::move(error));
}

void HostHooks::finish(Run& run, std::string error) {
  std::string output = run.capture.take();
  while (!output.empty() && output.back() == '\n') output.pop_back();
  if (!error.empty() && !output.empty()) error += ": " + output;
  HookEnded ended{.hook = run.order.id, .code = run.code, .error = std::move(error)};
  if (run.leaf) (void)run.leaf->try_remove();
  std::shared_ptr<Run> over = std::move(runs_.at(run.slot));
  runs_.erase(over->slot);
  context_->later([over] {});  // it is in the middle of calling us
  if (!waiting_.empty()) {
    HookOrder next = std::move(waiting_.front());
    waiting_.pop_front();
    begin(std::move(next));
  }
  context_->emit(std::move(ended));
}

}  // namespace keepwell
