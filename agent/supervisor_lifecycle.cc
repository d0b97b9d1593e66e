// How containers come to run and end, and what the restart policy makes of the end.
#include <algorithm>
#include <tuple>
#include <utility>

#include "agent/restart_policy.h"
#include "agent/supervisor_state.h"
#include "config/check.h"
#include "config/duration.h"
#include "exporters/duration_stats.h"

namespace keepwell {
namespace {

std::string whole_seconds(Duration duration) {
  return std::to_string(std::max<std::int64_t>(
      0, std::chrono::duration_cast<std::chrono::seconds>(duration).count()));
}

std::string how_it_ended(const ContainerStatus& status) {
  if (!status.exit_known) return "exit status unknown";
  if (status.oom_killed) return "out of memory";
  if (status.starts_total == 0 || (!status.error.empty())) return status.error;
  return "exited with " + std::to_string(status.exit_code);
}

// Stable means that the backoff starts again: healthy for reset_after, or, where nothing checks
// it, running for that long.
bool was_stable(const ContainerStatus& status, Instant ended) {
  const Duration needed = status.spec->restart.reset_after;
  if (status.health != Health::none) {
    return status.healthy_since && ended - *status.healthy_since >= needed;
  }
  return ended - status.started_mono >= needed;
}

}  // namespace

// ---- starting

void Supervisor::start_now(Container& container, bool by_hand) {
  KW_CHECK(!container.order_open && !container.live() && !shutting_down_);
  ContainerStatus& status = container.status;
  timers_.cancel(key(container.serial, 0, Timer::start));
  container.want_start = false;
  container.order_open = true;
  container.adopting = false;
  container.start_by_hand = by_hand;
  container.budget_asked.reset();
  status.budget_paid = false;
  status.run++;
  status.state = ServiceState::starting;
  status.error.clear();
  status.stopped_by_hand = false;
  status.start_at_next_run = false;
  status.dependents_due = !graph_.dependents(container.service()).empty();
  status.by_kill = false;
  status.stop_cause = StopCause::none;
  status.stop_deadline.reset();
  status.next_start.reset();
  status.next_start_wall.reset();
  save(container);
  actions_->push_back(StartContainer{{.container = container.ref(),
                                      .name = status.name,
                                      .project = status.project,
                                      .spec = status.spec}});
  changed(container);
}

void Supervisor::on(const ContainerStarted& event) {
  Container* found = of(event.container);
  if (found == nullptr || !found->order_open) return;
  Container& container = *found;
  ContainerStatus& status = container.status;
  container.order_open = false;
  const bool fresh = status.pid == 0;  // else the earlier agent had told of this start
  const auto stored = std::tuple(status.pid, status.pid_start_ticks, status.state);
  if (fresh) begin_run(container, event.at, event.at_wall);
  status.pid = event.pid;
  status.pid_start_ticks = event.pid_start_ticks;
  if (status.state == ServiceState::starting) status.state = ServiceState::running;
  container.frozen = event.paused.value_or(status.state == ServiceState::paused);
  if (status.state == ServiceState::paused && !container.frozen) {
    status.state = ServiceState::running;
    emit(container, "unpause");
  }
  if (status.state == ServiceState::running && container.frozen) {
    status.state = ServiceState::paused;
    emit(container, "pause");
  }
  // A fresh one is saved once it is known who follows.
  const bool news = stored != std::tuple(status.pid, status.pid_start_ticks, status.state);
  if (!fresh && news) save(container);
  answer(container, Waiter::kStarted, {});
  if (status.state == ServiceState::stopping || status.state == ServiceState::restarting) {
    send_stop(container);
  } else if (status.state == ServiceState::running) {
    fresh ? begin_probing(container) : resume_probing(container);
  } else {
    end_probing(container);  // found paused: what had been planned waits until it is thawed
    update_health(container, {});
  }
  container.adopting = false;
  // An earlier agent died before all had followed.
  if (!fresh && status.dependents_due) fresh_starts_.push_back(container.serial);
  changed(container);
}

// A process has come to life: everything that belongs to the run before ends here.
void Supervisor::begin_run(Container& container, Instant at, WallTime wall) {
  ContainerStatus& status = container.status;
  status.exit_code = 0;
  status.exit_known = true;
  status.oom_killed = false;
  status.error.clear();
  status.started = wall;
  status.started_mono = at;
  status.starts_total++;
  status.healthy_since.reset();
  container.oom_told = false;
  status.killed = false;
  for (std::size_t i = 0; i < container.checks.size(); ++i) {
    container.checks[i].tracker = HealthTracker();
    CheckStatus& check = status.checks[i];
    forget_actions(check, container.checks[i]);
    container.checks[i].phase_left = Duration{0};
    check.status = Health::starting;
    check.failing_streak = 0;
    check.success_streak = 0;
    check.starting_results = 0;
    check.held_since.reset();
  }
  update_health(container, {});
  emit(container, "start");
  if (std::exchange(status.restart_event_due, false)) {
    Event& event = emit(container, "restart");
    if (status.last_restart_reason && *status.last_restart_reason != RestartReason::manual) {
      event.attributes.emplace_back("reason", to_string(*status.last_restart_reason));
    }
  }
  pass_to_recovery(container);
  fresh_starts_.push_back(container.serial);
}

void Supervisor::on(const ContainerStartFailed& event) {
  Container* found = of(event.container);
  if (found == nullptr || !found->order_open) return;
  Container& container = *found;
  ContainerStatus& status = container.status;
  const ServiceState state = status.state;
  const bool lost_order = container.adopting && state == ServiceState::starting;
  const auto told = container.told.find(status.events_told + 1);
  if (container.adopting && told != container.told.end() && told->second == "start") {
    // It had run, and everybody knows; only how it ended nobody does. (It may be on its way out.)
    return on(ContainerExited{.container = event.container,
                              .known = false,
                              .code = 255,
                              .at = now_.mono,
                              .at_wall = now_.wall});
  }
  const bool by_hand = container.start_by_hand;
  container.order_open = false;
  container.adopting = false;
  end_probing(container);
  status.pid = 0;
  status.exit_code = event.exit_code;
  status.exit_known = true;
  if (lost_order && !shutting_down_) {
    // The earlier agent died before its order had an effect: nobody has failed.
    status.state = ServiceState::created;
    return start_now(container, false);
  }
  status.error = event.text;
  open_incident(container);
  emit(container, "start_failed").attributes = {{"exitCode", std::to_string(event.exit_code)},
                                                {"error", event.text}};
  const bool wrong = event.exit_code == 126 || event.exit_code == 127;
  answer(container, Waiter::kStarted,
         fail(wrong ? Errc::invalid : Errc::os,
              "cannot start container " + status.name + ": " + event.text));
  status.backoff = next_backoff(container.spec().restart, status.backoff);
  // A start by hand has somebody who reads the error; the policy does not argue with it.
  if (by_hand && state == ServiceState::starting && !shutting_down_ && !outdated(container)) {
    return rest(container, ServiceState::exited);
  }
  after_end(container, state, true, RestartReason::exit);
}

// ---- ending

void Supervisor::on(const ContainerExited& event) {
  Container* found = of(event.container);
  if (found == nullptr || !found->live()) return;
  Container& container = *found;
  ContainerStatus& status = container.status;
  // It came and went before anybody could be told that it had come.
  if (container.order_open && status.pid == 0) {
    begin_run(container, event.at, event.at_wall);
    answer(container, Waiter::kStarted, {});
  }
  const ServiceState state = status.state;
  const bool stable = was_stable(status, event.at);
  const bool asked_for = state == ServiceState::stopping || state == ServiceState::restarting;
  const bool failed = !event.known || event.code != 0;
  if (!asked_for && !status.stopped_by_hand && !shutting_down_ &&
      (failed || keepwell::after_end(container.spec().restart, false, status.restart_count) !=
                     PolicyAnswer::stay)) {
    open_incident(container);
  }
  note_end(container, event);
  status.backoff = next_backoff(container.spec().restart, stable ? Duration{0} : status.backoff);
  answer(container, Waiter::kEnded, {});
  answer(container, Waiter::kPaused | Waiter::kResumed,
         fail(Errc::conflict, "container " + status.id + " is not running"));
  after_end(container, state, failed, status.oom_killed ? RestartReason::oom : RestartReason::exit);
}

// Puts the facts of the end into the status, and tells them.
void Supervisor::note_end(Container& container, const ContainerExited& event) {
  ContainerStatus& status = container.status;
  end_probing(container);
  timers_.cancel(key(container.serial, 0, Timer::stop));
  container.order_open = false;
  container.adopting = false;
  container.pausing = false;
  container.resuming = false;
  container.frozen = false;
  container.capturing = false;
  status.traced = false;
  timers_.cancel(key(container.serial, 0, Timer::capture));
  status.pid = 0;
  status.pid_start_ticks = 0;
  status.exit_known = event.known;
  status.exit_code = event.known ? event.code : 255;
  // An earlier agent may have told what this one could not learn any more.
  const auto told = container.told.find(status.events_told + 1);
  status.oom_killed = event.oom_killed || (told != container.told.end() && told->second == "oom");
  status.finished = event.at_wall;
  status.error.clear();
  if (!event.known) {
    status.error = "exit status unknown: nobody could wait for its process";
  }
  if (status.oom_killed && !container.oom_told) emit(container, "oom");
  emit(container, "die").attributes = {
      {"exitCode", std::to_string(status.exit_code)},
      {"execDuration", whole_seconds(event.at - status.started_mono)}};
  const bool stopped =
      status.state == ServiceState::stopping || status.state == ServiceState::restarting;
  if (!stopped) return;
  observe(status.stop_duration, now_.mono - container.stop_began, kStopDurationBounds);
  if (!status.by_kill) emit(container, "stop");
}

// What follows the end of a container that was in STATE until now.
void Supervisor::after_end(Container& container, ServiceState state, bool failed,
                           RestartReason reason) {
  ContainerStatus& status = container.status;
  const StopCause cause = std::exchange(status.stop_cause, StopCause::none);
  status.stop_deadline.reset();
  if (shutting_down_) {
    rest(container, ServiceState::exited);
    return mark_for_next_run(container);
  }
  if (outdated(container)) {
    status.state = ServiceState::exited;
    return settle_config(container);
  }
  if (status.stopped_by_hand) return rest(container, ServiceState::exited);
  if (state == ServiceState::restarting || cause == StopCause::config) {
    return start_again(container, cause);
  }
  if (state == ServiceState::stopping && cause != StopCause::none) {
    return rest(container, ServiceState::exited);
  }
  if (state == ServiceState::stopping) reason = RestartReason::unhealthy;
  ask_policy(container, failed, reason);
}

// What was stopped only to be started.
void Supervisor::start_again(Container& container, StopCause cause) {
  ContainerStatus& status = container.status;
  if (cause == StopCause::unhealthy) return enter_backoff(container, RestartReason::unhealthy);
  if (cause == StopCause::by_hand) {
    status.state = ServiceState::exited;
    return start_now(container, true);
  }
  status.state = ServiceState::created;
  container.want_start = true;
  save(container);
  changed(container);
}

void Supervisor::ask_policy(Container& container, bool failed, RestartReason reason) {
  ContainerStatus& status = container.status;
  const int restarts = excused(container) ? 0 : status.restart_count;
  const PolicyAnswer answer = keepwell::after_end(container.spec().restart, failed, restarts);
  if (!status.incident.empty()) {
    explain_policy(container, how_it_ended(status),
                   answer == PolicyAnswer::restart ? "restart"
                   : answer == PolicyAnswer::stay  ? "none"
                                                   : "give up");
  }
  switch (answer) {
    case PolicyAnswer::stay:
      return rest(container, ServiceState::exited);
    case PolicyAnswer::give_up:
      return rest(container, ServiceState::failed);
    case PolicyAnswer::restart:
      if (reason != RestartReason::unhealthy) {
        note_decision(container, reason, how_it_ended(status));
        capture_end(container);
      }
      return enter_backoff(container, reason);
  }
}

void Supervisor::enter_backoff(Container& container, RestartReason reason) {
  ContainerStatus& status = container.status;
  const RestartSpec& spec = container.spec().restart;
  if (!excused(container)) {
    if (limit_reached(spec, status.restart_times, now_.mono)) {
      return rest(container, ServiceState::failed);
    }
    note_restart(spec, status.restart_times, now_.mono);
    status.restart_count++;
  }
  status.restarts_total[static_cast<std::size_t>(reason)]++;
  status.restart_limit_remaining =
      restarts_left(spec, status.restart_count, status.restart_times, now_.mono);
  double drawn = random_share();
  if (replay_.jitter && spec.jitter > 0) drawn = replay_.jitter(status.name);
  const double lengthened = 1 + std::max(0.0, spec.jitter) * drawn;
  const auto wait = Duration(
      static_cast<Duration::rep>(static_cast<double>(status.backoff.count()) * lengthened));
  status.state = ServiceState::backoff;
  status.next_start = now_.mono + wait;
  status.next_start_wall = now_.wall + wait;
  if (!status.incident.empty()) {
    Event& event = decide(container, "backoff");
    event.attributes = {{"wait", format_duration(wait)}};
    if (spec.jitter > 0) event.attributes.emplace_back("drawn", std::to_string(drawn));
  }
  timers_.set(key(container.serial, 0, Timer::start), *status.next_start);
  save(container);
  changed(container);
}

// It stays as it is until somebody asks for something.
void Supervisor::rest(Container& container, ServiceState state) {
  ContainerStatus& status = container.status;
  timers_.cancel(key(container.serial, 0, Timer::start));
  container.want_start = false;
  status.state = state;
  status.next_start.reset();
  status.next_start_wall.reset();
  status.restart_event_due = false;
  status.budget_paid = false;
  container.budget_asked.reset();
  if (state == ServiceState::failed) {
    emit(container, "gave_up").attributes = {{"restarts", std::to_string(status.restart_count)}};
  }
  close_incident(container, state == ServiceState::failed ? "gave_up" : "rest");
  answer(container, Waiter::kEnded, {});
  answer(
      container, Waiter::kStarted,
      fail(Errc::conflict, "cannot start container " + status.name + ": it was stopped meanwhile"));
  save(container);
  changed(container);
}

void Supervisor::note_decision(Container& container, RestartReason reason, std::string detail) {
  container.status.last_restart_reason = reason;
  container.status.last_restart = now_.wall;
  open_incident(container);
  decide(container, "restart").attributes = {{"reason", to_string(reason)}, {"detail", detail}};
  container.status.last_restart_detail = std::move(detail);
}

// A start by hand is a fresh beginning: tries, backoff and windows count from here.
void Supervisor::forget_starts(Container& container) {
  ContainerStatus& status = container.status;
  status.restart_count = 0;
  status.backoff = Duration{0};
  status.restart_times.clear();
  status.restart_limit_remaining =
      restarts_left(container.spec().restart, 0, status.restart_times, now_.mono);
}

void Supervisor::answer(Container& container, std::uint32_t kinds, const Status& result) {
  if (container.waiters.empty()) return;
  std::vector<Waiter> waiters;
  waiters.swap(container.waiters);
  for (const Waiter& waiter : waiters) {
    if ((waiter.kind & kinds) != 0) {
      reply(waiter.request, result);
    } else {
      container.waiters.push_back(waiter);
    }
  }
}

void Supervisor::changed(const Container& container) {
  changed_services_.push_back(container.service());
}

}  // namespace keepwell
