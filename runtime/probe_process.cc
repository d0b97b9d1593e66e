#include "runtime/probe_process.h"

#include <signal.h>

#include <algorithm>

namespace keepwell {

namespace {

constexpr std::size_t kKeptBytes = 4096;  // what a result may show, see kOutputBytesMax in probes/
constexpr std::uint64_t kFloodBytes = 64u << 20;  // a probe that writes more is killed
constexpr Duration kDrainGrace =
    std::chrono::milliseconds(50);  // for output that is still on its way
constexpr Duration kEmptyTimeout =
    std::chrono::seconds(2);  // until what cannot be killed is left to its fate
constexpr Duration kContainerEndGrace = std::chrono::milliseconds(50);
constexpr Duration kRuntimeExecPoll = std::chrono::milliseconds(50);
// A zygote saves some 0.3 ms per probe.
constexpr Duration kZygoteIntervalMax = std::chrono::seconds(5);
constexpr Duration kEmptyPoll = std::chrono::milliseconds(5);

std::vector<std::string> probe_argv(const CheckSpec& check) {
  if (check.test.empty()) return {};
  std::vector<std::string> rest(check.test.begin() + 1, check.test.end());
  if (check.test[0] == "CMD") return rest;
  std::vector<std::string> argv = check.shell;
  if (argv.empty()) argv = {"/bin/sh", "-c"};
  argv.push_back(rest.empty() ? "" : rest[0]);
  return argv;
}

}  // namespace

ProbeProcess::ProbeProcess(EngineContext& context, Container& container, ProbeOrder order)
    : context_(&context),
      container_(&container),
      order_(std::move(order)),
      capture_(context.loop),
      timer_(context.loop),
      leaf_watch_(context.loop) {
  ended_.probe = order_.id;
}

ProbeProcess::~ProbeProcess() = default;

void ProbeProcess::start(std::function<void(ProbeEnded)> on_ended) {
  on_ended_ = std::move(on_ended);
  Status spawned = spawn();
  if (spawned) return;
  bool bad_order = spawned.error().code == Errc::invalid;
  ended_.how = bad_order ? ProbeEnded::How::start_failed : ProbeEnded::How::our_fault;
  ended_.code = 128;
  ended_.error = spawned.error().text;
  timer_.start_after(Duration{0}, [this] { finish(true); });
}

// What is to be run, and where.
Status ProbeProcess::fill(EnterOrder& enter) {
  const ServiceSpec& spec = *container_->order().spec;
  enter.base = container_->plan_base();
  enter.request.argv = probe_argv(*order_.check);
  if (spec.exec == ExecMode::runtime && spec.runtime == RuntimeKind::oci) {
    const std::string& id = container_->id();
    Result<RuntimeExec> prepared =
        RuntimeExec::prepare(*context_->runtime, id, context_->bundle_dir(id),
                             std::to_string(order_.id), enter.request.argv);
    if (!prepared) return fail(prepared.error());
    runtime_exec_ = std::move(*prepared);
    enter.request.argv = runtime_exec_->argv();
    return {};
  }
  if (spec.runtime == RuntimeKind::process) enter.request.user = spec.user;
  enter.target_pidfd = container_->target_pidfd();
  enter.target_root = container_->target_root();
  Result<std::shared_ptr<ProbeLeaf>> leaf = container_->take_leaf(order_.check->name);
  if (!leaf) return fail(leaf.error());
  leaf_ = *leaf;
  if (leaf_) {
    ended_.orphans = leaf_->orphans;
    enter.cgroup_procs = leaf_->join;
    enter.kept = &leaf_->plan;
    if (!context_->cgroups->layout.unified_mount.empty())
      enter.kill_cgroup = context_->cgroups->layout.unified_mount + leaf_->cgroup.path();
  } else {
    enter.cgroup_procs = container_->join_fds();
  }
  return {};
}

// Has the check's zygote make the process, where there is one; where there should be one, it is
// started for the probes to come.
void ProbeProcess::use_zygote(EnterOrder& enter) {
  if (!leaf_) return;
  std::unique_ptr<Zygote>& zygote = leaf_->zygote;
  // In v1 cgroups alone a zygote would be found among the container's processes.
  if (order_.check->interval > kZygoteIntervalMax || !container_->may_have_zygotes() ||
      context_->cgroups->layout.unified_mount.empty() || !Zygote::possible(*enter.base)) {
    return zygote.reset();
  }
  if (zygote && zygote->is_for(enter.base, enter.request)) {
    if (zygote->state() == Zygote::State::starting) return;
    if (zygote->state() == Zygote::State::serves) {
      leaf_->plan = {};
      zygote_ = enter.zygote = zygote->id();
      enter.zygote_status = zygote->status();
      return;
    }
    if (!zygote->has_served()) leaf_->zygote_failures = kZygoteFailuresMax;
  }
  zygote.reset();
  if (leaf_->zygote_failures >= kZygoteFailuresMax) return;
  Result<UniqueFd> directory = leaf_->cgroup.open_unified();
  if (!directory) return;
  int null = context_->null.get();
  Result<std::unique_ptr<Zygote>> started =
      Zygote::start(context_->keeper, enter.base, enter.request,
                    {.stdio = {null, null, null},
                     .target_pidfd = enter.target_pidfd,
                     .target_root = enter.target_root,
                     // Without the leaf itself, which comes first: clones begin in it.
                     .cgroup_procs = {leaf_->join.begin() + 1, leaf_->join.end()},
                     .cgroups_of_clones = leaf_->own - 1,
                     .leaf_directory = directory->get()});
  if (started) zygote = std::move(*started);
}

// One that is stuck, or whose clones get nowhere, is no good for the next probe either.
void ProbeProcess::judge_zygote() {
  if (zygote_ == 0 || !leaf_->zygote || leaf_->zygote->id() != zygote_) return;
  const bool failed =
      zygote_refused_ || !program_over_ || (ended_.how == ProbeEnded::How::our_fault && !frozen_);
  if (!failed) return leaf_->zygote->made_one();
  const bool useful = leaf_->zygote->has_made() && !zygote_killed_;
  leaf_->zygote_failures += useful ? 1 : kZygoteFailuresMax;
  leaf_->zygote.reset();
}

Status ProbeProcess::spawn() {
  EnterOrder enter;
  if (Status filled = fill(enter); !filled) return filled;
  Result<UniqueFd> output = capture_.open(kKeptBytes, kFloodBytes, [this] {
    ended_.error = "the probe wrote more than 64 MiB and was killed";
    kill_all();
  });
  if (!output) return fail(output.error());

  enter.stdio = {context_->null.get(), output->get(), output->get()};
  use_zygote(enter);
  Result<std::unique_ptr<EnterProcess>> process = EnterProcess::start(
      context_->loop, context_->keeper, enter,
      {.on_entered =
           [this] {
             if (killed_) return;
             Now now = Loop::now();
             context_->emit(ProbeEntered{order_.id, now.mono, now.wall});
           },
       .on_running =
           [this] {
             if (killed_) return kill_all();  // that came before there was a process to kill
             Now now = Loop::now();
             context_->emit(ProbeStarted{order_.id, now.mono, now.wall});
           },
       .on_failed =
           [this](const EnterReport& report) {
             const bool gone = report.blame == EnterBlame::container_gone || !container_runs();
             program_over_ = true;
             if (killed_ && !gone) {  // by us, on its way in
               ended_.how = frozen_ ? ProbeEnded::How::our_fault : ProbeEnded::How::killed;
               ended_.code = 128 + SIGKILL;
               return drained();
             }
             ended_.how = gone                               ? ProbeEnded::How::container_gone
                          : report.blame == EnterBlame::ours ? ProbeEnded::How::our_fault
                                                             : ProbeEnded::How::start_failed;
             ended_.code = report.exit_code;
             ended_.error = report.text;
             // It may be the first sign of the container's end, and there may be a clone after all.
             zygote_refused_ = unexplained_kill_ =
                 zygote_ != 0 && ended_.how == ProbeEnded::How::our_fault;
             drained();
           },
       .on_exited = [this](const ExitRecord& record) { program_ended(record); }});
  if (!process) return fail(process.error());
  process_ = std::move(*process);
  return {};
}

bool ProbeProcess::container_runs() const {
  return container_->running() && container_->is(order_.container);
}

void ProbeProcess::kill_all() {
  if (leaf_) (void)leaf_->cgroup.kill();
  if (runtime_exec_ && context_->cgroups) {
    // The runtime's command ends with the program; killed itself, it would leave the program
    // behind.
    Result<std::vector<int>> alive = container_pids(*context_->cgroups, container_->id());
    if (alive) runtime_exec_->kill(*alive);
    return;
  }
  if (process_) process_->kill_group();
}

void ProbeProcess::kill() {
  if (killed_ || finishing_) return;
  killed_ = true;
  // Whoever froze the container meant it to stand still, and it cannot be blamed for that.
  frozen_ = !container_ended_ && container_->frozen_from_outside();
  kill_all();
  if (program_over_) return;  // the wait for the rest is under way, and bounded
  give_up_at_ = Loop::now().mono + kEmptyTimeout;
  wait_for_death();
}

void ProbeProcess::wait_for_death() {
  timer_.start_after(runtime_exec_ ? kRuntimeExecPoll : kEmptyTimeout, [this] {
    if (Loop::now().mono < give_up_at_) {
      kill_all();  // the runtime may not have said until now which process it is
      return wait_for_death();
    }
    if (process_) process_->kill_group();
    if (process_ && process_->keeper_is_silent()) {
      ended_.how = ProbeEnded::How::our_fault;
      ended_.error = "the keeper does not answer";
      return finish(false);
    }
    ended_.how = frozen_ ? ProbeEnded::How::our_fault : ProbeEnded::How::killed;
    ended_.error = "the probe could not be killed within 2 s; it is left to the kernel";
    finish(false);
  });
}

void ProbeProcess::container_ended() {
  container_ended_ = !program_over_;
  kill();
}

void ProbeProcess::program_ended(const ExitRecord& record) {
  program_over_ = true;
  ended_.code = record.status();
  ended_.cpu = record.user_cpu + record.system_cpu;
  ended_.max_rss_bytes = record.rss_bytes_max;
  ended_.how = ProbeEnded::How::exited;
  bool by_kill = record.signal == SIGKILL || (runtime_exec_ && record.code == 128 + SIGKILL);
  if (by_kill && container_ended_)
    ended_.how = ProbeEnded::How::container_gone;
  else if (by_kill && killed_)
    ended_.how = frozen_ ? ProbeEnded::How::our_fault : ProbeEnded::How::killed;
  else if (runtime_exec_ && record.code != 0)
    runtime_failed(runtime_exec_->finish());
  // When a container's first process ends, the kernel kills all others first. So a probe that was
  // killed by nobody we know of may be the first sign of that, and waits for the second one.
  unexplained_kill_ = by_kill && !killed_ && ended_.error.empty();
  if (unexplained_kill_ && zygote_ != 0) {
    // Or the kernel killed the clone for what was done to its cgroup (CgroupLeaf::was_killed()).
    // The next probe, which no zygote makes, is to tell.
    zygote_refused_ = zygote_killed_ = true;
    ended_.how = ProbeEnded::How::our_fault;
    ended_.error = "it was killed, by whom is not known, maybe on its way in";
  }
  timer_.stop();
  capture_.finish(kDrainGrace, [this] { drained(); });
}

// The runtime's own exit code is 255 or 1 whatever went wrong; only its log tells that from the
// program's.
void ProbeProcess::runtime_failed(const std::string& complaint) {
  if (complaint.empty()) return;
  ended_.how = container_runs() ? ProbeEnded::How::start_failed : ProbeEnded::How::container_gone;
  ended_.code = start_failure_code(complaint);
  ended_.error = complaint;
}

void ProbeProcess::drained() {
  ended_.output = capture_.take();
  ended_.output_bytes = capture_.total_bytes();
  if (!leaf_) {
    if (process_) process_->kill_group();
    return finish(true);
  }
  Result<CgroupLeaf::Inside> inside = leaf_->cgroup.inside();
  if (inside && !inside->populated) return finish(inside->zombies == 0);
  ended_.left_over = !killed_;
  (void)leaf_->cgroup.kill();
  give_up_at_ = Loop::now().mono + kEmptyTimeout;
  wait_until_empty();
}

void ProbeProcess::wait_until_empty() {
  // cgroup.events says when; where there is none, or it is not to be watched, the timer alone
  // looks.
  if (leaf_->cgroup.events_fd() >= 0)
    (void)leaf_watch_.start(leaf_->cgroup.events_fd(), {.priority = true},
                            [this](Ready) { poll_leaf(); });
  timer_.start_after(kEmptyPoll, [this] { poll_leaf(); });
}

void ProbeProcess::poll_leaf() {
  Result<CgroupLeaf::Inside> inside = leaf_->cgroup.inside();
  if (inside && !inside->populated) return finish(inside->zombies == 0);
  if (Loop::now().mono >= give_up_at_) return finish(false);
  (void)leaf_->cgroup.kill();
  timer_.start_after(kEmptyPoll, [this] { poll_leaf(); });
}

void ProbeProcess::finish(bool clean) {
  if (finishing_) return;
  if (unexplained_kill_ && container_runs()) {
    unexplained_kill_ = false;
    leaf_watch_.stop();
    timer_.start_after(kContainerEndGrace, [this, clean] {
      unexplained_kill_ = !container_runs();
      finish(clean);
    });
    return;
  }
  if (unexplained_kill_) ended_.how = ProbeEnded::How::container_gone;
  finishing_ = true;
  timer_.stop();
  leaf_watch_.stop();
  if (runtime_exec_) (void)runtime_exec_->finish();
  if (leaf_) {
    judge_zygote();
    Duration used = leaf_->cgroup.cpu();
    ended_.cpu = std::max(ended_.cpu, used - leaf_->cpu);
    leaf_->cpu = used;
    container_->release_leaf(order_.check->name, leaf_.get(),
                             clean && program_over_ && !zygote_refused_);
  }
  Now now = Loop::now();
  ended_.at = now.mono;
  ended_.at_wall = now.wall;
  std::exchange(on_ended_, nullptr)(std::move(ended_));
}

}  // namespace keepwell
