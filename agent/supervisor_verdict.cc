// Verdicts: what a result makes of a check, the checks of the health, and the health of the
// container.
#include <algorithm>
#include <utility>

#include "agent/restart_policy.h"
#include "agent/supervisor_state.h"
#include "exporters/duration_stats.h"
#include "probes/rollup.h"

namespace keepwell {
namespace {

std::string first_line(const std::string& output) {
  return output.substr(0, std::min(output.find('\n'), std::size_t{120}));
}

}  // namespace

void Supervisor::apply_result(Container& container, std::size_t index, ProbeResult result) {
  ContainerStatus& status = container.status;
  CheckStatus& check = status.checks[index];
  CheckRun& run = container.checks[index];
  observe_probe(check, result);
  if (result.outcome == ProbeOutcome::voided) return;
  const int starting_before = check.starting_results;
  const HealthRecord before = run.tracker.record();
  const auto transition = run.tracker.apply(*check.spec, status.started_mono, result);
  const ProbeResult& last = check.log.emplace_back(std::move(result));
  check.status = run.tracker.status();
  check.failing_streak = run.tracker.record().failing_streak;
  check.success_streak = run.tracker.record().success_streak;
  check.starting_results = run.tracker.record().starting_results;
  if (check.failing_streak > 0 && acts(check.spec->role) && !check.spec->observe) {
    open_incident(container);
  }
  record_result(container, index, last, before);
  if (last.held) {
    note_held(container, index);
  } else {
    note_flap(container, index, last.passed());
  }
  if (check.log.size() > kProbeLogMax) check.log.pop_front();
  if (check.starting_results > starting_before && run.tracker.starting_notice()) {
    check.starting_long_total++;
    emit(container, "health_starting").attributes = {
        {"check", check.spec->name}, {"results", std::to_string(check.starting_results)}};
  }
  if (transition) {
    if (transition->to == Health::healthy) {
      check.transitions_to_healthy_total++;
      forget_actions(check, run);
    }
    if (transition->to == Health::unhealthy) check.transitions_to_unhealthy_total++;
    update_health(container, check.spec->name);
    if (check.spec->role == CheckRole::startup) settle_gate(container);
  }
  save(container, transition.has_value());
  if (check.status == Health::unhealthy) {
    act_on_unhealthy(container, index, transition.has_value());
  } else if (check.log.back().passed()) {
    close_if_well(container);
  }
}

// CHECK: whose result caused it; empty: none did (a start, a reload).
void Supervisor::update_health(Container& container, const std::string& check) {
  ContainerStatus& status = container.status;
  std::vector<CheckVerdict> verdicts;
  verdicts.reserve(status.checks.size());
  for (const CheckStatus& each : status.checks) {
    verdicts.push_back({.role = each.spec->role, .status = each.status});
  }
  const Health before = status.health;
  const Health after = roll_up(verdicts);
  if (after == before) return;
  status.health = after;
  if (before == Health::healthy && status.healthy_since) {
    const Duration stable = now_.mono - *status.healthy_since;
    if (stable >= container.spec().restart.reset_after) status.backoff = Duration{0};
    status.healthy_since.reset();
  }
  if (after == Health::healthy) status.healthy_since = now_.mono;
  if (before == Health::starting && after == Health::healthy) {
    observe(status.start_to_healthy, now_.mono - status.started_mono, kStartToHealthyBounds);
  }
  const bool lives = status.pid != 0;  // a reload may change what is left of one that does not
  if (lives && (after == Health::healthy || after == Health::unhealthy)) {
    Event& event = emit(container, std::string("health_status: ") + to_string(after));
    if (!check.empty() && check != kHealthcheckName) {
      event.attributes.emplace_back("check", check);
    }
  }
  if (after == Health::healthy) {
    container.budget_tries = 0;
    note_recovery(container);
  }
  changed(container);
}

// The word of on_unhealthy. REQUIRES: act_on_unhealthy() found nothing against it.
void Supervisor::apply_unhealthy(Container& container, std::size_t index, bool transition) {
  ContainerStatus& status = container.status;
  const CheckStatus& check = status.checks[index];
  CheckRun& run = container.checks[index];
  const OnUnhealthy action =
      unhealthy_action(check.spec->on_unhealthy, container.spec().restart, status.restart_count,
                       status.restart_times, now_.mono);
  if (transition) explain_unhealthy(container, index, action);
  if (action == OnUnhealthy::none || action == OnUnhealthy::policy) {
    // Left running, for it may still answer somebody; but nobody will restart it any more.
    const bool wanted = check.spec->on_unhealthy != OnUnhealthy::none;
    if (transition && wanted && !check.spec->observe &&
        limit_reached(container.spec().restart, status.restart_times, now_.mono)) {
      emit(container, "gave_up").attributes = {{"restarts", std::to_string(status.restart_count)}};
      save(container);
    }
    return;
  }
  if (check.spec->observe) {
    if (transition) status.suppressed_total[static_cast<std::size_t>(SuppressReason::observe)]++;
    return;
  }
  if (held_back(container, index, action)) return;
  run.acted = true;
  std::string detail = check.spec->name + " failed " + std::to_string(check.failing_streak) +
                       (check.failing_streak == 1 ? " time" : " times");
  if (!check.log.empty()) detail += ": " + first_line(check.log.back().output);
  if (action == OnUnhealthy::stop) {
    decide(container, "stop").attributes = {{"detail", detail}};
    return stop(container, ServiceState::stopping, StopCause::unhealthy, 0, std::nullopt);
  }
  note_decision(container, RestartReason::unhealthy, std::move(detail));
  status.restart_event_due = true;
  end_with_evidence(container, action == OnUnhealthy::kill);
}

}  // namespace keepwell
