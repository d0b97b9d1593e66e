// What people ask for, and what they are told. Texts that clients of Docker compare are Docker's.
#include <algorithm>

#include "agent/supervisor_state.h"
#include "config/signals.h"

namespace keepwell {
namespace {

constexpr int kSigkill = 9;

tl::unexpected<Error> nothing_to_do() { return fail(Errc::conflict, ""); }

tl::unexpected<Error> not_running(const std::string& id) {
  return fail(Errc::conflict, "container " + id + " is not running");
}

}  // namespace

void Supervisor::on(const Command& command) {
  Container* found = by_id(command.container);
  if (found == nullptr) {
    return reply(command.request, fail(Errc::not_found, "No such container: " + command.container));
  }
  record_command(*found, command);
  switch (command.kind) {
    case Command::Kind::start:
      return command_start(*found, command);
    case Command::Kind::stop:
      return command_stop(*found, command);
    case Command::Kind::restart:
      return command_restart(*found, command);
    case Command::Kind::kill:
      return command_kill(*found, command);
    case Command::Kind::pause:
      return command_pause(*found, command);
    case Command::Kind::unpause:
      return command_unpause(*found, command);
    case Command::Kind::hold:
      return command_hold(*found, command);
    case Command::Kind::release:
      if (!found->status.hold) return reply(command.request, nothing_to_do());
      end_hold(*found, "by hand");
      return reply(command.request, {});
    case Command::Kind::probe_now:
    case Command::Kind::pause_check:
    case Command::Kind::resume_check:
      return command_check(*found, command);
  }
}

void Supervisor::command_start(Container& container, const Command& command) {
  ContainerStatus& status = container.status;
  if (shutting_down_) {
    return reply(command.request, fail(Errc::unavailable, "cannot start container " + status.name +
                                                              ": keepwell is stopping"));
  }
  switch (status.state) {
    case ServiceState::running:
      // After a `kill` that it outlived: it is wanted again.
      if (status.stopped_by_hand) {
        status.stopped_by_hand = false;
        save(container);
      }
      return reply(command.request, nothing_to_do());
    case ServiceState::paused:
      return reply(command.request,
                   fail(Errc::conflict, "cannot start a paused container, try unpause instead"));
    case ServiceState::starting:
    case ServiceState::restarting:
      container.waiters.push_back({Waiter::kStarted, command.request});
      return;
    case ServiceState::stopping:
      // It comes back as soon as it has ended.
      container.waiters.push_back({Waiter::kStarted, command.request});
      status.stopped_by_hand = false;
      forget_starts(container);
      if (status.stop_cause == StopCause::config) return save(container);
      status.state = ServiceState::restarting;
      status.stop_cause = StopCause::by_hand;
      return save(container);
    case ServiceState::created:
    case ServiceState::backoff:
    case ServiceState::exited:
    case ServiceState::failed:
      container.waiters.push_back({Waiter::kStarted, command.request});
      forget_starts(container);
      return start_now(container, true);
  }
}

// Puts off whatever would start it.
void Supervisor::cancel_start(Container& container) {
  ContainerStatus& status = container.status;
  status.stopped_by_hand = true;
  status.start_at_next_run = false;
  const bool ran = status.state == ServiceState::backoff || status.started.has_value();
  if (!ran) status.error.clear();
  rest(container, ran ? ServiceState::exited : ServiceState::created);
}

void Supervisor::command_stop(Container& container, const Command& command) {
  ContainerStatus& status = container.status;
  if (!container.live()) {
    const bool pending = container.want_start || status.state == ServiceState::backoff;
    if (!pending) return reply(command.request, nothing_to_do());
    cancel_start(container);
    if (status.started) emit(container, "stop");
    return reply(command.request, {});
  }
  container.waiters.push_back({Waiter::kEnded, command.request});
  answer(
      container, Waiter::kStarted,
      fail(Errc::conflict, "cannot start container " + status.name + ": it was stopped meanwhile"));
  status.stopped_by_hand = true;
  const bool again =
      status.state == ServiceState::stopping || status.state == ServiceState::restarting;
  // A second stop may hurry the first, never slow it down.
  const StopCause cause =
      status.stop_cause == StopCause::config && again ? StopCause::config : StopCause::by_hand;
  std::optional<Duration> grace = command.grace;
  if (again && status.stop_deadline) {
    const Duration left = std::max(Duration{0}, *status.stop_deadline - now_.mono);
    const Duration asked = grace.value_or(container.spec().stop_grace_period);
    grace = asked < Duration::zero() ? left : std::min(left, asked);
  }
  stop(container, ServiceState::stopping, cause, command.signal, grace);
}

void Supervisor::command_restart(Container& container, const Command& command) {
  ContainerStatus& status = container.status;
  if (!container.live() || shutting_down_) {
    if (!shutting_down_) {
      status.restart_event_due = true;
      note_decision(container, RestartReason::manual, "restarted by hand");
    }
    return command_start(container, command);
  }
  container.waiters.push_back({Waiter::kStarted, command.request});
  status.stopped_by_hand = false;
  forget_starts(container);
  if (status.state == ServiceState::starting) return save(container);  // a new process comes anyhow
  status.restarts_total[static_cast<std::size_t>(RestartReason::manual)]++;
  status.restart_event_due = true;
  note_decision(container, RestartReason::manual, "restarted by hand");
  if (status.state == ServiceState::stopping || status.state == ServiceState::restarting) {
    if (status.stop_cause == StopCause::config) return save(container);
    status.state = ServiceState::restarting;
    status.stop_cause = StopCause::by_hand;
    return save(container);
  }
  stop(container, ServiceState::restarting, StopCause::by_hand, command.signal, command.grace);
}

void Supervisor::command_kill(Container& container, const Command& command) {
  ContainerStatus& status = container.status;
  const int signal = command.signal > 0 ? command.signal : kSigkill;
  const int own = parse_signal(container.spec().stop_signal).value_or(15);
  // Only these mean that it is to stay down; and not while it is being restarted anyhow.
  const bool ends =
      (signal == kSigkill || signal == own) && status.state != ServiceState::restarting;
  if (!container.live()) {
    if (!ends || status.state != ServiceState::backoff) {
      return reply(command.request,
                   fail(Errc::conflict, "cannot kill container: " + status.name + ": container " +
                                            status.id + " is not running"));
    }
    cancel_start(container);
    return reply(command.request, {});
  }
  if (container.order_open) {
    if (signal != kSigkill) {
      return reply(command.request,
                   fail(Errc::conflict, "cannot kill container: " + status.name + ": container " +
                                            status.id + " is not running"));
    }
    container.waiters.push_back({Waiter::kEnded, command.request});
    if (status.state == ServiceState::stopping || status.state == ServiceState::restarting) {
      status.stopped_by_hand = status.state == ServiceState::stopping;
      status.stop_deadline = now_.mono;  // it ends anyhow, only sooner
      container.stop_grace = Duration{0};
      return save(container);
    }
    status.stopped_by_hand = true;
    stop(container, ServiceState::stopping, StopCause::by_hand, 0, Duration{0});
    status.by_kill = true;
    return;
  }
  if (signal == kSigkill) {
    container.waiters.push_back({Waiter::kEnded, command.request});
    return kill_by_hand(container);
  }
  if (ends) {
    status.stopped_by_hand = true;
    save(container);
  }
  emit(container, "kill").attributes = {{"signal", std::to_string(signal)}};
  actions_->push_back(SignalContainer{container.ref(), signal});
  if (ends && container.frozen) {
    container.resuming = true;
    actions_->push_back(ResumeContainer{container.ref()});
  }
  reply(command.request, {});
}

void Supervisor::kill_by_hand(Container& container) {
  ContainerStatus& status = container.status;
  const bool began =
      status.state == ServiceState::stopping || status.state == ServiceState::restarting;
  if (!began) {
    status.by_kill = true;
    status.state = ServiceState::stopping;
    status.stop_cause = StopCause::by_hand;
    container.stop_began = now_.mono;
  }
  status.stopped_by_hand = status.state == ServiceState::stopping;
  status.stop_deadline = now_.mono;
  status.killed = false;  // tell of this one too
  save(container);
  changed(container);
  kill_now(container);
}

void Supervisor::command_pause(Container& container, const Command& command) {
  const ServiceState state = container.status.state;
  const std::string& id = container.status.id;
  if (state == ServiceState::paused || container.pausing) {
    return reply(command.request, fail(Errc::conflict, "container " + id + " is already paused"));
  }
  if (state == ServiceState::restarting || state == ServiceState::backoff) {
    return reply(command.request,
                 fail(Errc::conflict,
                      "Container " + id + " is restarting, wait until the container is running"));
  }
  if (state != ServiceState::running || container.order_open) {
    return reply(command.request, not_running(id));
  }
  container.waiters.push_back({Waiter::kPaused, command.request});
  container.pausing = true;
  end_probing(container);
  actions_->push_back(PauseContainer{container.ref()});
}

void Supervisor::command_unpause(Container& container, const Command& command) {
  if (container.status.state != ServiceState::paused || container.order_open) {
    return reply(command.request,
                 fail(Errc::os, "Container " + container.status.id + " is not paused"));
  }
  container.waiters.push_back({Waiter::kResumed, command.request});
  if (container.resuming) return;
  container.resuming = true;
  actions_->push_back(ResumeContainer{container.ref()});
}

void Supervisor::command_check(Container& container, const Command& command) {
  ContainerStatus& status = container.status;
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < container.checks.size(); ++i) {
    if (command.check.empty() || status.checks[i].spec->name == command.check) chosen.push_back(i);
  }
  if (chosen.empty()) {
    return reply(
        command.request,
        fail(Errc::not_found, command.check.empty()
                                  ? "cannot find a health check of " + status.name
                                  : "cannot find check " + command.check + " of " + status.name));
  }
  if (command.kind == Command::Kind::probe_now) {
    if (status.state != ServiceState::running || container.order_open || container.pausing) {
      return reply(command.request, not_running(status.id));
    }
    // The reply comes with the last of them.
    for (const std::size_t i : chosen) {
      container.checks[i].waiters.push_back(i == chosen.back() ? command.request : 0);
      if (container.checks[i].probe == 0) probe_due(container, i, now_.mono);
    }
    return;
  }
  const bool pause = command.kind == Command::Kind::pause_check;
  for (const std::size_t i : chosen) set_check_paused(container, i, pause);
  save(container);
  reply(command.request, {});
}

}  // namespace keepwell
