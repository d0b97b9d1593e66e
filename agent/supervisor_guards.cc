// What holds automatic actions back: a hold by hand or a debugger, flapping, the pressure of the
// host, and the host's budget of restarts. Each is told and counted once for each incident. Nobody
// is asked about what a person orders.
#include <algorithm>
#include <cstdio>
#include <set>
#include <utility>

#include "agent/flap_detector.h"
#include "agent/pressure_guard.h"
#include "agent/supervisor_state.h"
#include "config/duration.h"
#include "exporters/time_text.h"
#include "probes/rollup.h"

namespace keepwell {
namespace {

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.0f%%", 100 * share);
  return text;
}

// A check whose being unhealthy is acted on.
bool is_cause(const CheckStatus& check) {
  return check.status == Health::unhealthy && acts(check.spec->role) && !check.spec->observe;
}

}  // namespace

void Supervisor::suppress(Container& container, SuppressReason reason, std::string detail) {
  ContainerStatus& status = container.status;
  const std::uint32_t bit = 1U << static_cast<unsigned>(reason);
  if ((status.suppressed_now & bit) != 0) return;
  status.suppressed_now |= bit;
  status.suppressed_total[static_cast<std::size_t>(reason)]++;
  decide(container, "suppressed").attributes = {{"reason", to_string(reason)},
                                                {"detail", std::move(detail)}};
  save(container);
}

// Whether ACTION, which the check at INDEX is due, must not be done now. Asked again at every
// failure, and when what holds it back has ended.
bool Supervisor::held_back(Container& container, std::size_t index, OnUnhealthy action) {
  if (held_by_hand(container)) return true;
  const CheckStatus& check = container.status.checks[index];
  if (check.flapping) {
    suppress(container, SuppressReason::flap,
             check.spec->name + " flaps: " + percent(check.flap_ratio.value_or(0)) +
                 " of its results are changes");
    return true;
  }
  return action != OnUnhealthy::stop && !granted(container);
}

// ---- holds

bool Supervisor::held_by_hand(Container& container) {
  const ContainerStatus& status = container.status;
  if (status.hold) {
    std::string detail = "held by hand until " + rfc3339_nano(status.hold->until);
    if (!status.hold->reason.empty()) detail += ": " + status.hold->reason;
    suppress(container, SuppressReason::hold, std::move(detail));
  } else if (status.traced) {
    suppress(container, SuppressReason::hold, "a debugger is attached to its first process");
  }
  return status.held();
}

void Supervisor::command_hold(Container& container, const Command& command) {
  ContainerStatus& status = container.status;
  if (command.hold_for <= Duration::zero()) {
    return reply(command.request, fail(Errc::invalid, "cannot hold " + status.name +
                                                          ": say for how long, more than 0s"));
  }
  status.hold = HoldStatus{
      .reason = command.reason, .since = now_.wall, .until = now_.wall + command.hold_for};
  status.hold_until = now_.mono + command.hold_for;
  const Instant end = *status.hold_until;
  timers_.set(key(container.serial, 0, Timer::hold),
              replay_.release ? replay_.release(status.name, end) : end);
  emit(container, "hold").attributes = {{"until", rfc3339_nano(status.hold->until)},
                                        {"reason", command.reason}};
  save(container);
  reply(command.request, {});
}

void Supervisor::end_hold(Container& container, const char* how) {
  ContainerStatus& status = container.status;
  timers_.cancel(key(container.serial, 0, Timer::hold));
  if (!status.hold) return;
  status.hold.reset();
  status.hold_until.reset();
  emit(container, "release").attributes = {{"how", how}};
  save(container);
  resume_actions(container);
}

// DESIGN 5: a person who looks at a process with a debugger must not lose it. Known from the probes
// that fail, and until one of them says otherwise.
void Supervisor::note_traced(Container& container, std::optional<bool> traced) {
  ContainerStatus& status = container.status;
  if (!traced || *traced == status.traced) return;
  status.traced = *traced;
  emit(container, *traced ? "hold" : "release").attributes = {{"reason", "debugger"}};
  status.suppressed_now &= ~(1U << static_cast<unsigned>(SuppressReason::hold));
  save(container);
}

// What was held back is done, unless something else holds it.
void Supervisor::resume_actions(Container& container) {
  ContainerStatus& status = container.status;
  status.suppressed_now &= ~(1U << static_cast<unsigned>(SuppressReason::hold));
  if (status.held() || shutting_down_) return;
  if (status.state == ServiceState::backoff) {
    const Instant at = std::max(now_.mono, status.next_start.value_or(now_.mono));
    timers_.set(key(container.serial, 0, Timer::start), at);
  }
  if (status.state != ServiceState::running || container.order_open) return;
  for (std::size_t i = 0; i < status.checks.size(); ++i) {
    if (is_cause(status.checks[i])) act_on_unhealthy(container, i, false);
  }
}

// ---- the host's budget

// Whether CONTAINER may be restarted; else it waits, and grant_restarts() sees to it.
bool Supervisor::granted(Container& container) {
  if (!budget_.on() || container.status.budget_paid) return true;
  if (container.budget_asked) return false;
  container.budget_asked = now_.mono;
  restart_queue_.push_back(container.serial);
  const Instant at = now_.mono + kBudgetGather;
  const auto planned = timers_.at(key(0, 0, Timer::budget));
  if (!planned || *planned > at) look_at_budget(at);
  return false;
}

void Supervisor::look_at_budget(Instant at) {
  timers_.set(key(0, 0, Timer::budget), replay_.budget ? replay_.budget(at) : at);
}

// It still is as it was when it asked.
bool Supervisor::wants_restart(const Container& container) const {
  const ContainerStatus& status = container.status;
  if (!container.budget_asked || status.stopped_by_hand || container.order_open || status.held()) {
    return false;  // who is released asks again
  }
  if (status.state == ServiceState::backoff) return true;
  return status.state == ServiceState::running &&
         std::any_of(status.checks.begin(), status.checks.end(),
                     [](const CheckStatus& check) { return is_cause(check) && !check.flapping; });
}

void Supervisor::grant_restarts() {
  std::vector<RestartWish> wishes;
  for (const std::uint32_t serial : std::exchange(restart_queue_, {})) {
    const auto found = by_serial_.find(serial);
    if (found == by_serial_.end()) continue;
    Container& container = *found->second;
    if (shutting_down_ || !wants_restart(container)) {
      container.budget_asked.reset();
      continue;
    }
    wishes.push_back({.serial = serial,
                      .service = container.service(),
                      .priority = container.spec().priority,
                      .asked = *container.budget_asked,
                      .tries = container.budget_tries});
  }
  for (const std::uint32_t serial : restart_order(wishes, graph_)) {
    Container& container = *by_serial_.at(serial);
    if (budget_.remaining(now_.mono).value_or(1) > 0) {
      grant(container);
      continue;
    }
    restart_queue_.push_back(serial);
    const RestartBudgetSpec& spec = budget_.spec();
    suppress(container, SuppressReason::budget,
             "all " + std::to_string(spec.count) + " restarts of " + format_duration(spec.window) +
                 " are used");
  }
  if (restart_queue_.empty()) return;
  look_at_budget(std::max(budget_.next_free(now_.mono), now_.mono + kBudgetGather));
}

void Supervisor::grant(Container& container) {
  ContainerStatus& status = container.status;
  container.budget_asked.reset();
  if (budget_.on()) {
    budget_.take(now_.mono);
    container.budget_tries++;
    status.budget_paid = true;
    status.budget_times.push_back(now_.mono);
    while (now_.mono - status.budget_times.front() >= budget_.spec().window) {
      status.budget_times.pop_front();
    }
    save(container);
    const int used = budget_.spec().count - budget_.remaining(now_.mono).value_or(0);
    decide(container, "budget").attributes = {
        {"detail", "restart " + std::to_string(used) + " of " +
                       std::to_string(budget_.spec().count) + " within " +
                       format_duration(budget_.spec().window)}};
  }
  if (status.state == ServiceState::backoff) return start_due(container);
  for (std::size_t i = 0; i < status.checks.size(); ++i) {
    if (is_cause(status.checks[i])) act_on_unhealthy(container, i, false);
  }
}

// The backoff of CONTAINER is over.
void Supervisor::start_due(Container& container) {
  if (container.status.state != ServiceState::backoff) return;
  if (held_by_hand(container)) return;  // resume_actions() starts it
  if (!granted(container)) return;
  start_now(container, false);
}

bool Supervisor::budget_holds() const {
  return budget_.on() &&
         std::any_of(restart_queue_.begin(), restart_queue_.end(), [this](std::uint32_t serial) {
           const auto found = by_serial_.find(serial);
           return found != by_serial_.end() && wants_restart(*found->second);
         });
}

// What an earlier agent had granted, and who was held.
void Supervisor::restore_guards(Container& container) {
  ContainerStatus& status = container.status;
  budget_.restore(status.budget_times);
  if (!status.hold) return;
  // After a reboot only the wall clock knows.
  if (!status.hold_until) status.hold_until = now_.mono + (status.hold->until - now_.wall);
  timers_.set(key(container.serial, 0, Timer::hold), std::max(*status.hold_until, now_.mono));
}

// ---- pressure

// A timeout says little of a service that the host gave no time to run. But one that lasts is not
// forgiven for ever.
void Supervisor::judge_pressure(Container& container, std::size_t index, const ProbeEnded& event,
                                ProbeResult& result) {
  CheckStatus& check = container.status.checks[index];
  if (result.outcome == ProbeOutcome::voided) return;
  if (result.outcome != ProbeOutcome::timed_out) {
    check.held_since.reset();
    container.checks[index].held_in_row = 0;
    return;
  }
  result.pressure = pressure_text(event.pressure);
  const PressureGuardSpec& guard = container.spec().pressure_guard;
  if (over_level(guard, event.pressure) == nullptr) return;
  if (!check.held_since) check.held_since = now_.mono;
  result.held = now_.mono - *check.held_since < guard.max_hold;
  if (result.held) container.checks[index].held_in_row++;
}

// A result that was held instead of counted.
void Supervisor::note_held(Container& container, std::size_t index) {
  CheckStatus& check = container.status.checks[index];
  check.held_total++;
  if (!acts(check.spec->role) || check.spec->observe) return;
  open_incident(container);
  if (check.failing_streak + container.checks[index].held_in_row < check.spec->retries) return;
  suppress(container, SuppressReason::pressure,
           check.spec->name + " timed out while the host was stalled (" +
               check.log.back().pressure + "); held for at most " +
               format_duration(container.spec().pressure_guard.max_hold));
}

bool Supervisor::pressure_holds() const {
  return std::any_of(containers_.begin(), containers_.end(), [](const auto& container) {
    const auto& checks = container->status.checks;
    return std::any_of(checks.begin(), checks.end(), [](const CheckStatus& check) {
      return check.held_since && !check.log.empty() && check.log.back().held;
    });
  });
}

// ---- flapping

void Supervisor::note_flap(Container& container, std::size_t index, bool passed) {
  CheckStatus& check = container.status.checks[index];
  const FlapSpec& spec = container.spec().flap;
  if (!spec.on) {
    check.recent.clear();
    check.flap_ratio.reset();
    check.flapping = false;
    return;
  }
  note_recent(check.recent, passed, spec);
  check.flap_ratio = flap_ratio(check.recent);
  const bool flapping = flaps(check.flapping, check.recent, spec);
  if (flapping == check.flapping) return;
  check.flapping = flapping;
  emit(container, flapping ? "flapping" : "flapping_ended").attributes = {
      {"check", check.spec->name}, {"ratio", percent(*check.flap_ratio)}};
  if (!flapping) {
    container.status.suppressed_now &= ~(1U << static_cast<unsigned>(SuppressReason::flap));
  }
}

// ---- our own punctuality

Duration Supervisor::worst_lateness(Instant now) const {
  Duration worst{0};
  if (const auto due = timers_.next()) worst = std::max(worst, now - *due);
  for (const auto& [id, flight] : flights_) {
    if (!flight->started && !flight->voided) worst = std::max(worst, now - flight->due);
  }
  for (const std::deque<Waiting>* queue : {&urgent_, &waiting_}) {
    for (const Waiting& waiting : *queue) {
      const auto found = by_serial_.find(waiting.serial);
      if (found == by_serial_.end()) continue;
      const std::size_t index = found->second->check_of_slot(waiting.slot);
      if (index == found->second->checks.size() || !found->second->checks[index].due) continue;
      worst = std::max(worst, now - found->second->checks[index].due_at);
    }
  }
  return worst;
}

}  // namespace keepwell
