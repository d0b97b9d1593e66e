// Probes: when one starts, and what becomes of its end.
#include <algorithm>
#include <utility>

#include "agent/supervisor_state.h"
#include "config/check.h"
#include "exporters/duration_stats.h"
#include "probes/probe_output.h"
#include "probes/probe_schedule.h"

namespace keepwell {
namespace {

std::string command_text(const CheckSpec& spec) {
  std::string text;
  if (!spec.test.empty() && spec.test[0] == "CMD-SHELL") {
    for (const std::string& word : spec.shell) text += (text.empty() ? "" : " ") + word;
    if (text.empty()) text = "/bin/sh -c";
  }
  for (std::size_t i = 1; i < spec.test.size(); ++i) {
    if (!text.empty()) text += ' ';
    text += spec.test[i];
  }
  return text;
}

FailureReason reason_of(ProbeEnded::How how) {
  switch (how) {
    case ProbeEnded::How::exited:
      return FailureReason::exit;
    case ProbeEnded::How::killed:
      return FailureReason::timeout;
    case ProbeEnded::How::start_failed:
      return FailureReason::spawn;
    case ProbeEnded::How::refused:
      return FailureReason::refused;
    case ProbeEnded::How::reset:
      return FailureReason::reset;
    case ProbeEnded::How::dns:
      return FailureReason::dns;
    case ProbeEnded::How::tls:
      return FailureReason::tls;
    case ProbeEnded::How::http_status:
      return FailureReason::http_status;
    case ProbeEnded::How::body:
      return FailureReason::body;
    case ProbeEnded::How::grpc_status:
      return FailureReason::grpc_status;
    case ProbeEnded::How::container_gone:
    case ProbeEnded::How::our_fault:
      return FailureReason::canceled;
  }
  return FailureReason::canceled;
}

// The next result or the one after it may change the verdict; it goes before those that only
// confirm one.
bool near_verdict(const CheckStatus& check) {
  if (check.status == Health::unhealthy) return check.success_streak > 0;
  return check.failing_streak > 0 && check.spec->retries - check.failing_streak <= 2;
}

std::string joined(const std::string& error, const std::string& output) {
  if (error.empty()) return output;
  return output.empty() ? error : error + ": " + output;
}

}  // namespace

// ---- when

void Supervisor::begin_probing(Container& container) {
  for (std::size_t i = 0; i < container.checks.size(); ++i) schedule_first(container, i);
}

// The first probe of a check in this run. In a large file the phases are spread over a whole
// interval: by up to half of it now, and by the rest after the first probe, so that no service is
// looked at before half its time.
void Supervisor::schedule_first(Container& container, std::size_t index) {
  const CheckSpec& spec = *container.status.checks[index].spec;
  const double phase = phase_of(container.status.name + '/' + spec.name);
  if (spec.jitter > 0 || !spread_all_) {
    return schedule(container, index, now_.mono + first_wait(spec, spec.jitter, phase));
  }
  container.checks[index].phase_left = Duration(static_cast<Duration::rep>(
      std::max(0.0, phase - kSpreadOfFirst) * static_cast<double>(spec.interval.count())));
  schedule(container, index, now_.mono + first_wait(spec, 1, std::min(phase, kSpreadOfFirst)));
}

// After an adoption: on as the earlier agent had planned. What has fallen due since comes soon, but
// not all at once.
void Supervisor::resume_probing(Container& container) {
  for (std::size_t i = 0; i < container.checks.size(); ++i) {
    CheckStatus& check = container.status.checks[i];
    if (check.status == Health::none) {
      check.status = Health::starting;
      container.checks[i].tracker = HealthTracker();
    }
    const double phase = phase_of(container.status.name + '/' + check.spec->name);
    const auto soon = Duration(static_cast<Duration::rep>(
        phase * static_cast<double>(
                    std::min<Duration>(check.spec->interval, std::chrono::seconds(1)).count())));
    // A reload may have made the wait shorter since it was planned.
    const Duration longest =
        std::max({check.spec->interval, check.spec->start_interval, check.spec->initial_delay});
    const Instant planned = std::min(check.next_probe.value_or(now_.mono), now_.mono + longest);
    schedule(container, i, planned > now_.mono ? planned : now_.mono + soon);
  }
  update_health(container, {});
}

void Supervisor::unpause_probing(Container& container) {
  const Duration age = now_.mono - container.status.started_mono;
  for (std::size_t i = 0; i < container.checks.size(); ++i) {
    const CheckStatus& check = container.status.checks[i];
    schedule(container, i, now_.mono + next_wait(*check.spec, check.status, age));
  }
}

// No verdict changes from here on: what is in flight is killed, and its result is void.
void Supervisor::end_probing(Container& container) {
  for (std::size_t i = 0; i < container.checks.size(); ++i) {
    CheckRun& run = container.checks[i];
    run.due = false;
    container.status.checks[i].next_probe.reset();
    timers_.cancel(key(container.serial, run.slot, Timer::probe));
    if (run.probe != 0) void_flight(run.probe);
    for (const std::uint64_t request : std::exchange(run.waiters, {})) {
      reply(request, fail(Errc::conflict, "container " + container.status.id + " is not running"));
    }
  }
}

void Supervisor::schedule(Container& container, std::size_t index, Instant at) {
  CheckStatus& check = container.status.checks[index];
  if (check.paused_by_hand || gated(container, index)) {
    check.next_probe.reset();
    timers_.cancel(key(container.serial, container.checks[index].slot, Timer::probe));
    return;
  }
  check.next_probe = at;
  timers_.set(key(container.serial, container.checks[index].slot, Timer::probe), at);
}

// A startup check is over once it has passed, and until then it is the only kind that is probed.
bool Supervisor::gated(const Container& container, std::size_t index) const {
  const CheckStatus& check = container.status.checks[index];
  if (check.spec->role == CheckRole::startup) return check.status == Health::healthy;
  const auto& checks = container.status.checks;
  return std::any_of(checks.begin(), checks.end(), [](const CheckStatus& each) {
    return each.spec->role == CheckRole::startup && !each.paused_by_hand &&
           each.status != Health::healthy;
  });
}

// Something has changed about startup checks: those that waited for them begin, or wait now.
void Supervisor::settle_gate(Container& container) {
  if (container.status.state != ServiceState::running || container.order_open ||
      container.pausing) {
    return;
  }
  for (std::size_t i = 0; i < container.checks.size(); ++i) {
    const CheckRun& run = container.checks[i];
    const std::optional<Instant> planned = container.status.checks[i].next_probe;
    if (planned) {
      schedule(container, i, *planned);
    } else if (run.probe == 0 && !run.due) {
      schedule_first(container, i);
    }
  }
}

void Supervisor::set_check_paused(Container& container, std::size_t index, bool pause) {
  CheckStatus& check = container.status.checks[index];
  CheckRun& run = container.checks[index];
  if (check.paused_by_hand == pause) return;
  check.paused_by_hand = pause;
  run.due = false;
  if (pause) {
    timers_.cancel(key(container.serial, run.slot, Timer::probe));
    check.next_probe.reset();
    if (run.probe != 0) void_flight(run.probe);
  } else if (container.status.state == ServiceState::running && !container.pausing &&
             !container.order_open) {
    const Duration age = now_.mono - container.status.started_mono;
    schedule(container, index, now_.mono + next_wait(*check.spec, check.status, age));
  }
  if (check.spec->role == CheckRole::startup) settle_gate(container);
}

// ---- start

void Supervisor::probe_due(Container& container, std::size_t index, Instant due) {
  CheckRun& run = container.checks[index];
  run.due_at = due;
  if (run.probe != 0 || run.due) {
    run.due = true;
    return;
  }
  if (flights_.size() >= probes_max()) {
    run.due = true;
    const Waiting waiting{.serial = container.serial, .slot = run.slot};
    (near_verdict(container.status.checks[index]) ? urgent_ : waiting_).push_back(waiting);
    return;
  }
  start_probe(container, index);
}

std::size_t Supervisor::probes_max() const {
  return static_cast<std::size_t>(project_ ? project_->probes_at_once
                                           : ProjectSpec{}.probes_at_once);
}

void Supervisor::start_waiting_probes() {
  while (flights_.size() < probes_max() && probes_waiting() > 0) {
    std::deque<Waiting>& queue = urgent_.empty() ? waiting_ : urgent_;
    const Waiting waiting = queue.front();
    queue.pop_front();
    const auto found = by_serial_.find(waiting.serial);
    if (found == by_serial_.end()) continue;
    const std::size_t index = found->second->check_of_slot(waiting.slot);
    if (index == found->second->checks.size()) continue;
    CheckRun& run = found->second->checks[index];
    if (run.probe != 0 || !std::exchange(run.due, false)) continue;
    // A reload may have closed the gate since.
    if (!run.waiters.empty() || !gated(*found->second, index)) start_probe(*found->second, index);
  }
}

void Supervisor::start_probe(Container& container, std::size_t index) {
  CheckRun& run = container.checks[index];
  CheckStatus& check = container.status.checks[index];
  timers_.cancel(key(container.serial, run.slot, Timer::probe));
  run.due = false;
  run.probe = ++last_probe_;
  check.probe_running = true;
  check.next_probe.reset();
  auto flight = std::make_unique<Flight>();
  flight->serial = container.serial;
  flight->slot = run.slot;
  flight->run = container.status.run;
  flight->ordered = now_.mono;
  flight->ordered_wall = now_.wall;
  flight->due = run.due_at;
  flight->timeout = check.spec->timeout;
  flights_[run.probe] = std::move(flight);
  timers_.set(key(container.serial, run.slot, Timer::flight), now_.mono + kProbeStartGuard);
  tell_probe(container, *check.spec, run.probe, "exec_create");
  actions_->push_back(StartProbe{{.id = run.probe,
                                  .container = container.ref(),
                                  .check = check.spec,
                                  .look_for_tracer = container.status.traced,
                                  .measure_pressure = container.spec().pressure_guard.on}});
}

// Docker shows each exec probe as an exec of its own.
void Supervisor::tell_probe(const Container& container, const CheckSpec& spec, ProbeId id,
                            const char* action, std::optional<int> exit_code) {
  if (!tell_probes_ || spec.kind != ProbeKind::exec) return;
  const bool with_command = !exit_code;
  Event event = event_of(container, with_command ? std::string(action) + ": " + command_text(spec)
                                                 : std::string(action));
  event.probe = true;
  event.attributes = {{"execID", exec_id(id)}, {"execType", "healthcheck"}};
  if (exit_code) event.attributes.emplace_back("exitCode", std::to_string(*exit_code));
  actions_->push_back(Emit{std::move(event)});
}

std::string Supervisor::exec_id(ProbeId id) const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text(64, '0');
  for (std::size_t i = 0; i < 16; ++i, id >>= 4U) text[63 - i] = kDigits[id & 0xfU];
  return text;
}

// What happens from here to the start of its program is the container's doing: it may stop or
// freeze the process. So its patience is that of the check, where that is shorter than the guard's.
void Supervisor::on(const ProbeEntered& event) {
  const auto found = flights_.find(event.probe);
  if (found == flights_.end()) return;
  const Flight& flight = *found->second;
  if (flight.started || flight.voided || flight.guard_expired) return;
  Instant deadline = event.at + std::min(flight.timeout, kProbeStartGuard);
  if (flight.lateness == Duration{0})
    deadline = std::min(deadline, flight.ordered + kProbeStartGuard);
  timers_.set(key(flight.serial, flight.slot, Timer::flight), deadline);
}

void Supervisor::on(const ProbeStarted& event) {
  const auto found = flights_.find(event.probe);
  if (found == flights_.end() || found->second->started) return;
  Flight& flight = *found->second;
  flight.started = event.at;
  flight.started_wall = event.at_wall;
  observe(probe_lateness_, event.at - flight.due, kProbeLatenessBounds);
  Container& container = *by_serial_.at(flight.serial);
  const std::size_t index = container.check_of_slot(flight.slot);
  tell_probe(container, *container.status.checks[index].spec, event.probe, "exec_start");
  if (flight.voided || flight.guard_expired) return;
  timers_.set(key(flight.serial, flight.slot, Timer::flight), event.at + flight.timeout);
}

// ---- end

void Supervisor::void_flight(ProbeId id) {
  Flight& flight = *flights_.at(id);
  if (flight.voided) return;
  flight.voided = true;
  if (!flight.timed_out && !flight.guard_expired) actions_->push_back(KillProbe{id});
  timers_.set(key(flight.serial, flight.slot, Timer::flight), now_.mono + kKillPatience);
}

// UNWATCHED: from the input before to this one. See kLateTimeout.
void Supervisor::forgive_lateness(Duration unwatched) {
  const auto due = timers_.next();
  if (!due || now_.mono - *due <= kLateTimeout) return;
  const bool stood_still = now_.mono - *due > kLatenessMax;
  for (const ProbeId id : in_flight()) {
    Flight& flight = *flights_.at(id);
    flight.unwatched = true;
    const bool decided = flight.voided || flight.timed_out || flight.guard_expired;
    const DueQueue::Key timer = key(flight.serial, flight.slot, Timer::flight);
    const Duration late = now_.mono - timers_.at(timer).value_or(now_.mono);
    if (!decided && late > kLateTimeout) flight.lateness += late;
    if (stood_still || flight.lateness > kLatenessMax) {
      void_flight(id);
    } else if (!decided && late > kLateTimeout) {
      const Duration patience = flight.started ? flight.timeout : kProbeStartGuard;
      timers_.set(timer, now_.mono + std::min(patience, unwatched));
    }
  }
}

// In the order in which they were ordered.
std::vector<ProbeId> Supervisor::in_flight() const {
  std::vector<ProbeId> ids;
  ids.reserve(flights_.size());
  for (const auto& [id, flight] : flights_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

void Supervisor::flight_timer_fired(ProbeId id) {
  const auto found = flights_.find(id);
  if (found == flights_.end()) return;
  Flight& flight = *found->second;
  if (!flight.voided && !flight.timed_out && !flight.guard_expired) {
    flight.timed_out = flight.started.has_value();
    flight.guard_expired = !flight.timed_out;
  }
  actions_->push_back(KillProbe{id});
  timers_.set(key(flight.serial, flight.slot, Timer::flight), now_.mono + kKillPatience);
}

void Supervisor::on(const ProbeEnded& event) {
  const auto found = flights_.find(event.probe);
  if (found == flights_.end()) return;
  const std::unique_ptr<Flight> flight = std::move(found->second);
  flights_.erase(found);
  Container& container = *by_serial_.at(flight->serial);
  const std::size_t index = container.check_of_slot(flight->slot);
  KW_CHECK(index < container.checks.size());
  CheckRun& run = container.checks[index];
  CheckStatus& check = container.status.checks[index];
  KW_CHECK(run.probe == event.probe);
  timers_.cancel(key(container.serial, run.slot, Timer::flight));
  run.probe = 0;
  check.probe_running = false;
  ProbeResult result = result_of(*flight, event, container.status.id);
  if (flight->run != container.status.run || container.status.state != ServiceState::running ||
      container.pausing || container.order_open) {
    result.outcome = ProbeOutcome::voided;
  }
  judge_pressure(container, index, event, result);
  note_traced(container, event.traced);
  tell_probe(container, *check.spec, event.probe, "exec_die", event.code);
  check.orphans_total += event.orphans;
  answer_probe(run, result.outcome != ProbeOutcome::voided);
  apply_result(container, index, std::move(result));
  if (container.status.state != ServiceState::running || container.pausing ||
      container.order_open || run.probe != 0) {
    return;
  }
  const bool again = std::exchange(run.due, false);  // it fell due while this one was ending
  if (again && (!run.waiters.empty() || !gated(container, index))) {
    return start_probe(container, index);
  }
  if (check.next_probe) return;
  const Duration age = now_.mono - container.status.started_mono;
  const Duration wait = next_wait(*check.spec, check.status, age);
  const Duration shorter = std::min(std::exchange(run.phase_left, Duration{0}), wait / 2);
  schedule(container, index, now_.mono + wait - shorter);
}

void Supervisor::answer_probe(CheckRun& run, bool counted) {
  for (const std::uint64_t request : std::exchange(run.waiters, {})) {
    if (counted) {
      reply(request, {});
    } else {
      reply(request, fail(Errc::unavailable, "cannot probe now: the result does not count"));
    }
  }
}

// What the engine found, in Docker's words.
ProbeResult Supervisor::result_of(const Flight& flight, const ProbeEnded& event,
                                  const std::string& id) {
  using How = ProbeEnded::How;
  ProbeResult result;
  result.started = flight.started.value_or(flight.ordered);
  result.started_wall = flight.started ? flight.started_wall : flight.ordered_wall;
  result.ended = event.at;
  result.ended_wall = event.at_wall;
  result.output_bytes = event.output_bytes;
  result.cpu = event.cpu;
  result.max_rss_bytes = event.max_rss_bytes;
  result.start_latency = flight.started ? *flight.started - flight.ordered : Duration{0};
  result.reason = reason_of(event.how);
  std::string output = capped_output(event.output, event.output_bytes);
  const bool killed = event.how == How::killed;
  // A server may have lost its patience with a peer that neither read nor wrote.
  const bool broke_unseen = flight.unwatched && (event.how == How::reset || event.how == How::tls);
  if (flight.voided || event.how == How::our_fault || event.how == How::container_gone ||
      broke_unseen || (killed && !flight.timed_out && !flight.guard_expired)) {
    result.outcome = ProbeOutcome::voided;
  } else if (killed && flight.timed_out) {
    result.outcome = ProbeOutcome::timed_out;
    result.exit_code = -1;
    output = timeout_text(flight.timeout, output);
  } else if (killed || event.how == How::start_failed) {
    result.outcome = ProbeOutcome::start_failed;
    result.reason = FailureReason::spawn;
    result.exit_code = -1;
    output = killed ? start_guard_text(id) : joined(event.error, output);
  } else if (event.how == How::exited) {
    result.exit_code = event.code;
  } else {  // http, tcp, grpc: the program in the middle is ours, so 1 stands for "failed"
    result.exit_code = event.code != 0 ? event.code : 1;
    output = joined(event.error, output);
  }
  result.output = std::move(output);
  return result;
}

}  // namespace keepwell
