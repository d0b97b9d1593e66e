#include "runtime/probe_process.h"

#include <signal.h>

namespace keepwell {

namespace {

constexpr std::size_t kKeptBytes = 4096;  // what a result may show, see kOutputBytesMax in probes/
constexpr std::uint64_t kFloodBytes = 64u << 20;  // a probe that writes more is killed
constexpr Duration kDrainGrace =
    std::chrono::milliseconds(50);  // for output that is still on its way
constexpr Duration kEmptyTimeout =
    std::chrono::seconds(2);  // until what cannot be killed is left to its fate
constexpr Duration kContainerEndGrace = std::chrono::milliseconds(50);
constexpr Duration kEmptyPoll = std::chrono::milliseconds(5);

std::vector<std::string> probe_argv(const CheckSpec& check) {
  if (check.test.empty()) return {};
  std::vector<std::string> rest(check.test.begin() + 1, check.test.end());
  if (check.test[0] == "CMD") return rest;
  std::string script = rest.empty() ? "" : rest[0];
  return {"/bin/sh", "-c", script};
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

Status ProbeProcess::spawn() {
  Result<std::shared_ptr<CgroupLeaf>> leaf = container_->take_leaf(order_.check->name);
  if (!leaf) return fail(leaf.error());
  leaf_ = *leaf;
  Result<UniqueFd> output = capture_.open(kKeptBytes, kFloodBytes, [this] {
    ended_.error = "the probe wrote more than 64 MiB and was killed";
    kill_all();
  });
  if (!output) return fail(output.error());

  EnterOrder enter;
  enter.base = container_->plan_base();
  enter.request.argv = probe_argv(*order_.check);
  if (container_->order().spec->runtime == RuntimeKind::process)
    enter.request.user = container_->order().spec->user;
  enter.stdio = {context_->null.get(), output->get(), output->get()};
  enter.target_pidfd = container_->target_pidfd();
  if (leaf_) {
    enter.cgroup_procs = leaf_->join_fds(container_->payload_cgroups());
    leaf_cpu_before_ = leaf_->cpu();
    if (!context_->cgroups->layout.unified_mount.empty())
      enter.kill_cgroup = context_->cgroups->layout.unified_mount + leaf_->path();
  } else {
    for (const UniqueFd& procs : container_->payload_cgroups())
      enter.cgroup_procs.push_back(procs.get());
  }
  Result<std::unique_ptr<EnterProcess>> process = EnterProcess::start(
      context_->loop, context_->keeper, enter,
      {.on_running =
           [this] {
             if (killed_) return kill_all();  // that came before there was a process to kill
             Now now = Loop::now();
             context_->emit(ProbeStarted{order_.id, now.mono, now.wall});
           },
       .on_failed =
           [this](const EnterReport& report) {
             bool gone = report.blame == EnterBlame::container_gone || !container_runs();
             ended_.how = gone                               ? ProbeEnded::How::container_gone
                          : report.blame == EnterBlame::ours ? ProbeEnded::How::our_fault
                                                             : ProbeEnded::How::start_failed;
             ended_.code = report.exit_code;
             ended_.error = report.text;
             program_over_ = true;
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
  if (leaf_) (void)leaf_->kill();
  if (process_) process_->kill_group();
}

void ProbeProcess::kill() {
  if (killed_ || finishing_) return;
  killed_ = true;
  kill_all();
  if (program_over_) return;  // the wait for the rest is under way, and bounded
  timer_.start_after(kEmptyTimeout, [this] {
    ended_.how = ProbeEnded::How::killed;
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
  if (record.signal == SIGKILL && container_ended_)
    ended_.how = ProbeEnded::How::container_gone;
  else if (record.signal == SIGKILL && killed_)
    ended_.how = ProbeEnded::How::killed;
  // When a container's first process ends, the kernel kills all others first. So a probe that was
  // killed by nobody we know of may be the first sign of that, and waits for the second one.
  unexplained_kill_ = record.signal == SIGKILL && !killed_ && ended_.error.empty();
  timer_.stop();
  capture_.finish(kDrainGrace, [this] { drained(); });
}

void ProbeProcess::drained() {
  ended_.output = capture_.take();
  ended_.output_bytes = capture_.total_bytes();
  if (!leaf_) {
    if (process_) process_->kill_group();
    return finish(true);
  }
  Result<CgroupLeaf::Inside> inside = leaf_->inside();
  if (inside && !inside->populated) return finish(inside->zombies == 0);
  ended_.left_over = !killed_;
  (void)leaf_->kill();
  give_up_at_ = Loop::now().mono + kEmptyTimeout;
  wait_until_empty();
}

void ProbeProcess::wait_until_empty() {
  // cgroup.events says when; where there is none, or it is not to be watched, the timer alone
  // looks.
  if (leaf_->events_fd() >= 0)
    (void)leaf_watch_.start(leaf_->events_fd(), {.priority = true}, [this](Ready) { poll_leaf(); });
  timer_.start_after(kEmptyPoll, [this] { poll_leaf(); });
}

void ProbeProcess::poll_leaf() {
  Result<CgroupLeaf::Inside> inside = leaf_->inside();
  if (inside && !inside->populated) return finish(inside->zombies == 0);
  if (Loop::now().mono >= give_up_at_) return finish(false);
  (void)leaf_->kill();
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
  if (leaf_) {
    Duration used = leaf_->cpu() - leaf_cpu_before_;
    if (used > ended_.cpu) ended_.cpu = used;
    container_->release_leaf(order_.check->name, clean && program_over_);
  }
  Now now = Loop::now();
  ended_.at = now.mono;
  ended_.at_wall = now.wall;
  std::exchange(on_ended_, nullptr)(std::move(ended_));
}

}  // namespace keepwell
