#include "runtime/container.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "config/check.h"
#include "runtime/oci/rootfs.h"

namespace keepwell {

namespace {

constexpr Duration kDeleteTimeout = std::chrono::seconds(20);
constexpr Duration kCgroupRetry = std::chrono::milliseconds(5);
constexpr int kCgroupTriesMax =
    400;  // with kCgroupRetry: 2 s; what is left then goes at the next start
constexpr Duration kFreezePoll = std::chrono::milliseconds(2);
constexpr Duration kLookAgain = std::chrono::seconds(10);
constexpr Duration kFreezeTimeout = std::chrono::seconds(5);

}  // namespace

std::string terminal_name(const ContainerRef& ref) {
  return "tty " + ref.id + " " + std::to_string(ref.run);
}

Container::Container(EngineContext& context, std::string id)
    : context_(&context),
      id_(std::move(id)),
      cgroup_timer_(context.loop),
      freeze_timer_(context.loop),
      hook_timer_(context.loop),
      oom_watch_(context.loop),
      terminal_(context.loop),
      alive_(std::make_shared<bool>(true)) {}

Container::~Container() { *alive_ = false; }

void Container::start(const StartOrder& order) {
  if (phase_ == Phase::cleaning) {
    queued_ = order;
    return;
  }
  KW_CHECK(phase_ == Phase::idle);
  order_ = order;
  launch();
}

void Container::discard() {
  phase_ = Phase::cleaning;
  context_->when_runtime_known([this, alive = alive_] {
    if (*alive) clean({});
  });
}

void Container::launch() {
  phase_ = Phase::starting;
  kill_wanted_ = false;
  frozen_ = false;
  early_exit_.reset();
  if (order_.spec->runtime == RuntimeKind::oci)
    launch_oci();
  else
    launch_process();
}

void Container::launch_oci() {
  oci_start_ = std::make_unique<OciStart>(
      *context_, order_, [this](Launched result) { launched(std::move(result)); },
      [this, alive = alive_, context = context_](const ExitRecord& record) {
        if (*alive)
          exited(record);
        else
          context->keeper.ack(record.id);
      });
  oci_start_->begin();
}

void Container::launched(Launched result) {
  // It is in the middle of calling us.
  context_->later([start = std::shared_ptr<OciStart>(std::move(oci_start_))] {});
  if (!result.ok) return start_failed(result.exit_code, std::move(result.error));
  run_ = {};
  run_.pid = result.pid;
  run_.pidfd = std::move(result.pidfd);
  run_.spawn_id = result.spawn_id;
  run_.base = std::move(result.base);
  run_.payload_cgroups = std::move(result.payload_cgroups);
  if (result.terminal) keep_terminal(std::move(result.terminal));
  came_up(false, result.start_ticks);
}

void Container::came_up(bool adopted, std::uint64_t start_ticks) {
  phase_ = Phase::running;
  std::optional<bool> paused;
  if (context_->cgroups) {
    // A fresh run has a fresh cgroup, and may have lost a process before we hear that it runs.
    run_.oom_kills = adopted ? read_oom_kills(*context_->cgroups, id_) : 0;
    if (Result<bool> found = container_frozen(*context_->cgroups, id_); adopted && found) {
      paused = *found;
      frozen_ = *found;
    }
  }
  if (context_->cgroups && order_.spec->memory_bytes > 0) {
    Status watched = oom_watch_.start(*context_->cgroups, id_, [this] {
      if (phase_ == Phase::running) context_->emit(ContainerOom{order_.container});
    });
    if (!watched)
      context_->warn(order_.name + ": " + watched.error().text +
                     "; out-of-memory kills are seen at exit only");
  }
  Now now = Loop::now();
  std::shared_ptr<bool> alive = alive_;
  ContainerRef ref = order_.container;
  context_->emit(ContainerStarted{ref, run_.pid, start_ticks, adopted, paused, now.mono, now.wall});
  if (!*alive || !is(ref) || phase_ != Phase::running) return;
  if (kill_wanted_) kill();
  if (early_exit_) return exited(*std::exchange(early_exit_, std::nullopt));
  if (!adopted && !order_.spec->post_start.empty()) run_post_start();
}

void Container::start_failed(int exit_code, std::string text) {
  if (early_exit_) context_->keeper.ack(std::exchange(early_exit_, std::nullopt)->id);
  ContainerRef ref = order_.container;
  clean([this, ref, exit_code, text = std::move(text)] {
    context_->emit(ContainerStartFailed{ref, exit_code, text});
  });
}

void Container::exited(const ExitRecord& record) {
  bool ours = record.key == container_key(order_.container);
  if (ours && phase_ == Phase::starting) {
    early_exit_ = record;
    return;
  }
  if (!ours || phase_ != Phase::running) {
    context_->keeper.ack(record.id);  // of a start that failed
    return;
  }
  bool oom = context_->cgroups && read_oom_kills(*context_->cgroups, id_) > run_.oom_kills;
  phase_ = Phase::cleaning;
  context_->on_container_exit(order_.container);
  std::shared_ptr<bool> alive = alive_;
  tell_exit(record, oom && was_killed(record));
  if (*alive) clean({});
}

// By a SIGKILL: to the first process itself, or to its child whose status a shell or the reaper of
// `init: true` hands on.
bool Container::was_killed(const ExitRecord& record) {
  return record.known && record.status() == 128 + SIGKILL;
}

void Container::tell_exit(const ExitRecord& record, bool oom_killed) {
  context_->emit(ContainerExited{.container = order_.container,
                                 .known = record.known,
                                 .code = record.status(),
                                 .signal = record.known ? record.signal : 0,
                                 .oom_killed = oom_killed,
                                 .at = record.at.mono,
                                 .at_wall = record.at.wall});
  if (record.id != 0) context_->keeper.ack(record.id);
}

int Container::target_root() {
  if (order_.spec->runtime != RuntimeKind::oci || !run_.pidfd) return -1;
  const Instant now = Loop::now().mono;
  if (now - run_.looked_at >= kLookAgain) {
    run_.looked_at = now;
    NamespaceIds namespaces = namespaces_of(run_.pid);
    if (std::exchange(run_.namespaces, namespaces) != namespaces) {
      run_.root.reset();
      end_zygotes();
    }
  }
  if (!run_.root) {
    std::string path = "/proc/" + std::to_string(run_.pid) + "/root";
    UniqueFd root(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    // Alive after the open, so the number was not somebody else's.
    if (root && syscall(SYS_pidfd_send_signal, run_.pidfd.get(), 0, nullptr, 0) == 0) {
      run_.root = std::move(root);
    }
  }
  return run_.root.get();
}

Status Container::send_signal(int number) {
  if (phase_ != Phase::running || !run_.pidfd)
    return fail(Errc::conflict, "cannot signal " + order_.name + ": it is not running");
  if (syscall(SYS_pidfd_send_signal, run_.pidfd.get(), number, nullptr, 0) != 0)
    return fail_errno("cannot send signal " + std::to_string(number) + " to " + order_.name);
  return {};
}

void Container::kill() {
  if (phase_ == Phase::starting) {
    kill_wanted_ = true;
    if (oci_start_) oci_start_->cancel();
    return;
  }
  if (phase_ != Phase::running) return;
  if (context_->cgroups) {
    if (Status killed = kill_container_cgroup(*context_->cgroups, id_); !killed)
      context_->warn(order_.name + ": " + killed.error().text);
  }
  if (run_.process) run_.process->kill_group();
  if (run_.pidfd) syscall(SYS_pidfd_send_signal, run_.pidfd.get(), SIGKILL, nullptr, 0);
}

void Container::freeze(const ContainerRef& ref, bool frozen) {
  auto answer = [this, ref, frozen](std::string error) {
    context_->later([context = context_, ref, frozen, error] {
      if (frozen)
        context->emit(ContainerPaused{ref, error});
      else
        context->emit(ContainerResumed{ref, error});
    });
  };
  if (!is(ref) || phase_ != Phase::running)
    return answer("cannot pause " + order_.name + ": it is not running");
  if (!context_->cgroups)
    return answer("cannot pause " + order_.name + ": this host lets keepwell make no cgroups");
  if (Status done = freeze_container(*context_->cgroups, id_, frozen); !done)
    return answer(done.error().text);
  poll_frozen(ref, frozen, Duration{0});
}

bool Container::frozen_from_outside() const {
  return !frozen_ && context_->cgroups && keepwell::frozen_from_outside(*context_->cgroups, id_);
}

void Container::poll_frozen(const ContainerRef& ref, bool frozen, Duration waited) {
  freeze_timer_.start_after(
      waited == Duration{0} ? Duration{0} : kFreezePoll, [this, ref, frozen, waited] {
        Result<bool> now = container_frozen(*context_->cgroups, id_);
        bool reached = now && *now == frozen;
        if (!reached && waited < kFreezeTimeout && phase_ == Phase::running)
          return poll_frozen(ref, frozen, waited + kFreezePoll);
        std::string error;
        if (!reached) {
          error = phase_ == Phase::running
                      ? "cannot pause " + order_.name + ": its processes did not stop within 5 s"
                      : "cannot pause " + order_.name + ": it has ended";
          if (phase_ == Phase::running) (void)freeze_container(*context_->cgroups, id_, !frozen);
        } else {
          frozen_ = frozen;
        }
        if (frozen)
          context_->emit(ContainerPaused{ref, error});
        else
          context_->emit(ContainerResumed{ref, error});
      });
}

// ---- terminal and input

void Container::keep_terminal(UniqueFd master) {
  context_->keeper.keep_fd(terminal_name(order_.container), master.get(), "", false);
  start_terminal(std::move(master));
}

void Container::start_terminal(UniqueFd master) {
  std::string fifo =
      order_.spec->logging.driver == "none" ? "" : context_->bundle_dir(id_) + "/stdout";
  Status started = terminal_.start(std::move(master), fifo);
  if (!started) context_->warn(order_.name + ": " + started.error().text + "; its output is lost");
}

Result<UniqueFd> Container::open_stdin() {
  if (phase_ != Phase::running)
    return fail(Errc::conflict, "cannot write to " + order_.name + ": it is not running");
  if (order_.spec->tty) {
    UniqueFd copy(terminal_.open() ? fcntl(terminal_.master(), F_DUPFD_CLOEXEC, 3) : -1);
    if (!copy)
      return fail(Errc::unavailable,
                  "cannot write to " + order_.name + ": its terminal did not survive its keeper");
    return copy;
  }
  if (!order_.spec->stdin_open)
    return fail(Errc::unsupported, "cannot write to " + order_.name + ": it has no stdin_open");
  std::string path = context_->bundle_dir(id_) + "/stdin";
  UniqueFd opened(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  if (!opened) return fail_errno("cannot open " + path);
  return opened;
}

Status Container::resize(int rows, int columns) {
  if (!terminal_.open())
    return fail(Errc::unsupported, "cannot resize: " + order_.name + " has no terminal");
  return terminal_.resize(rows, columns);
}

std::string Container::log_path() const { return log_place().log_path; }

LogStreamPlace Container::log_place() const {
  return {id_, order_.container.run, context_->bundle_dir(id_),
          context_->container_dir(id_) + "/log/container.log"};
}

// ---- the end of a run

void Container::clean(std::function<void()> on_clean) {
  phase_ = Phase::cleaning;
  on_clean_ = std::move(on_clean);
  freeze_timer_.stop();
  oom_watch_.stop();
  hook_timer_.stop();
  hooks_.reset();
  stopping_ = false;
  frozen_ = false;
  run_.pidfd.reset();
  run_.process.reset();
  end_zygotes();
  terminal_.finish();
  if (order_.spec && order_.spec->tty) context_->keeper.drop_fd(terminal_name(order_.container));
  if (order_.spec)
    drop_log_streams(context_->keeper, id_, order_.container.run);
  else
    drop_all_log_streams(context_->keeper, id_);

  cgroup_tries_ = 0;
  if (context_->cgroups) (void)kill_container_cgroup(*context_->cgroups, id_);
  bool known_to_runtime = order_.spec == nullptr || order_.spec->runtime == RuntimeKind::oci;
  if (!known_to_runtime || !context_->runtime ||
      access((context_->runtime->state_root + "/" + id_).c_str(), F_OK) != 0) {
    return clean_network();
  }
  HostCommand remove;
  remove.argv = runtime_delete_argv(*context_->runtime, id_);
  remove.timeout = kDeleteTimeout;
  context_->commands.run(remove, [this, alive = alive_](const HostCommandResult& result) {
    if (!*alive) return;
    if (!result.ok())
      context_->warn(order_.name + ": cannot delete it from the runtime: " + result.output);
    clean_network();
  });
}

void Container::clean_network() {
  context_->networks.tear_down(id_, [this, alive = alive_] {
    if (*alive) clean_cgroups();
  });
}

void Container::clean_cgroups() {
  if (context_->cgroups) {
    bool probes = std::any_of(run_.leaves.begin(), run_.leaves.end(),
                              [](const auto& leaf) { return leaf.second.taken; });
    Result<bool> gone =
        probes ? Result<bool>(false) : try_remove_container_cgroup(*context_->cgroups, id_);
    if (gone && !*gone && ++cgroup_tries_ < kCgroupTriesMax) {
      (void)kill_container_cgroup(*context_->cgroups, id_);
      cgroup_timer_.start_after(kCgroupRetry, [this] { clean_cgroups(); });
      return;
    }
    if (!gone) context_->warn(order_.name + ": " + gone.error().text);
  }
  cleaned();
}

void Container::cleaned() {
  run_ = {};
  phase_ = Phase::idle;
  std::shared_ptr<bool> alive = alive_;
  if (on_clean_) std::exchange(on_clean_, nullptr)();
  if (!*alive || phase_ != Phase::idle) return;
  if (queued_removal_) return remove(std::exchange(queued_removal_, nullptr));
  if (!queued_) return;
  order_ = *std::exchange(queued_, std::nullopt);
  launch();
}

void Container::remove(std::function<void()> on_removed) {
  if (phase_ == Phase::cleaning) {
    queued_removal_ = std::move(on_removed);
    return;
  }
  std::string bundle = context_->bundle_dir(id_), layers = context_->container_dir(id_);
  // Unmounting writes the layer's file system out, and a layer may be large: none of that in our
  // loop.
  HostCommand command;
  const char* script =
      "umount -l \"$1/rootfs\" 2>/dev/null; rm -rf --one-file-system -- \"$1\" \"$2\"";
  command.argv = {"/bin/sh", "-c", script, "keepwell-remove", bundle, layers};
  command.timeout = std::chrono::minutes(15);
  context_->commands.run(command, [context = context_, bundle, on_removed = std::move(on_removed)](
                                      const HostCommandResult& result) {
    if (!result.ok()) context->warn("cannot remove all of " + bundle + ": " + result.output);
    on_removed();
  });
}

}  // namespace keepwell
