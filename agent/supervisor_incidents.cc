// Incidents: what went wrong, what was decided about it and why, told to the journal step by step.
// An incident begins with the first counted failure of a check that acts, with an end that nobody
// asked for, or with a restart that somebody decides; it ends when the service is well again
// without a restart, has been started again, or is left at rest. So each restart has exactly one,
// and everything that belongs to it carries its id.
#include <algorithm>
#include <utility>

#include "agent/supervisor_state.h"
#include "config/duration.h"
#include "config/spec_names.h"
#include "probes/rollup.h"

namespace keepwell {
namespace {

constexpr std::size_t kTextMax = 200;

const char* outcome_word(const ProbeResult& result) {
  if (result.passed()) return "pass";
  return result.outcome == ProbeOutcome::timed_out ? "timeout" : "fail";
}

std::string shortened(const std::string& text) {
  return text.size() <= kTextMax ? text : text.substr(0, kTextMax) + "...";
}

// The result is one more of many that say the same.
bool is_quiet(const CheckSpec& spec, const HealthRecord& before, const ProbeResult& result) {
  return result.passed() && before.status == Health::healthy && before.failing_streak == 0 &&
         before.starting_results == 0 && before.success_streak >= spec.success_threshold;
}

const char* name_of_kind(Command::Kind kind) {
  switch (kind) {
    case Command::Kind::start:
      return "start";
    case Command::Kind::stop:
      return "stop";
    case Command::Kind::restart:
      return "restart";
    case Command::Kind::kill:
      return "kill";
    case Command::Kind::pause:
      return "pause";
    case Command::Kind::unpause:
      return "unpause";
    case Command::Kind::probe_now:
      return "probe";
    case Command::Kind::pause_check:
      return "pause-check";
    case Command::Kind::resume_check:
      return "resume-check";
    case Command::Kind::hold:
      return "hold";
    case Command::Kind::release:
      return "release";
  }
  return "";
}

}  // namespace

// ---- records

// Valid until the next action; the caller adds attributes.
Event& Supervisor::record(const Container& container, EventKind kind, std::string what) {
  Event event;
  event.kind = kind;
  event.at = now_.wall;
  event.action = std::move(what);
  const ContainerStatus& status = container.status;
  event.id = status.id;
  event.name = status.name;
  event.project = status.project;
  event.replica = status.replica;
  event.spec = status.spec;
  event.incident = status.incident.empty() ? status.recovery : status.incident;
  actions_->push_back(Record{std::move(event)});
  return std::get<Record>(actions_->back()).event;
}

Event& Supervisor::decide(const Container& container, std::string what) {
  return record(container, EventKind::decision, std::move(what));
}

// A fact about no container.
Event& Supervisor::record_host(std::string what) {
  Event event;
  event.kind = EventKind::fact;
  event.at = now_.wall;
  event.action = std::move(what);
  if (project_) event.project = project_->name;
  actions_->push_back(Record{std::move(event)});
  return std::get<Record>(actions_->back()).event;
}

// Which configuration it is, the shell adds: it keeps them.
void Supervisor::record_configure(bool first) {
  record_host("configure").attributes = {{"first", first ? "yes" : "no"},
                                         {"services", std::to_string(project_->services.size())}};
}

void Supervisor::record_command(const Container& container, const Command& command) {
  Event& event = record(container, EventKind::fact, "command");
  event.attributes = {{"kind", name_of_kind(command.kind)}};
  if (command.signal > 0) event.attributes.emplace_back("signal", std::to_string(command.signal));
  if (command.grace) event.attributes.emplace_back("grace", format_duration(*command.grace));
  if (!command.check.empty()) event.attributes.emplace_back("check", command.check);
  if (command.hold_for > Duration::zero()) {
    event.attributes.emplace_back("for", format_duration(command.hold_for));
    event.attributes.emplace_back("why", command.reason);
  }
}

// BEFORE: what the tracker knew when the result came. A result that changes nothing is only
// counted; the next record of its check says how many there were.
void Supervisor::record_result(Container& container, std::size_t index, const ProbeResult& result,
                               const HealthRecord& before) {
  CheckRun& run = container.checks[index];
  const CheckStatus& check = container.status.checks[index];
  const Duration took = result.ended - result.started;
  if (is_quiet(*check.spec, before, result)) {
    run.quiet_passes++;
    run.quiet_time += took;
    return;
  }
  Event& event = record(container, EventKind::result, "probe");
  event.at = result.ended_wall;
  event.attributes = {{"check", check.spec->name},
                      {"outcome", outcome_word(result)},
                      {"exit", std::to_string(result.exit_code)},
                      {"took", std::to_string(took.count())},
                      {"streak", std::to_string(check.failing_streak)},
                      {"retries", std::to_string(check.spec->retries)}};
  if (!result.passed()) event.attributes.emplace_back("reason", to_string(result.reason));
  if (!result.pressure.empty()) event.attributes.emplace_back("pressure", result.pressure);
  if (result.held) event.attributes.emplace_back("held", "the host was stalled");
  if (container.status.traced) event.attributes.emplace_back("traced", "yes");
  if (run.quiet_passes > 0) {
    event.attributes.emplace_back("passes", std::to_string(std::exchange(run.quiet_passes, 0)));
    event.attributes.emplace_back("passes_took",
                                  std::to_string(std::exchange(run.quiet_time, {}).count()));
  }
  if (!result.passed() && !result.output.empty()) {
    event.attributes.emplace_back("output", shortened(result.output));
  }
}

// ---- incidents

void Supervisor::open_incident(Container& container) {
  ContainerStatus& status = container.status;
  if (!status.incident.empty()) return;
  status.incident = new_incident_id();
  status.incident_since = now_.wall;
  status.suppressed_now = 0;
  status.recovery.clear();
}

void Supervisor::close_incident(Container& container, const char* how) {
  ContainerStatus& status = container.status;
  status.recovery.clear();
  if (status.incident.empty()) return;
  decide(container, how);
  status.incident.clear();
  status.budget_paid = false;
}

// Its restart has come up: what is still missing is that it is well.
void Supervisor::pass_to_recovery(Container& container) {
  ContainerStatus& status = container.status;
  if (status.incident.empty()) return;
  status.recovery = container.checks.empty() ? std::string() : status.incident;
  status.incident.clear();
}

void Supervisor::note_recovery(Container& container) {
  ContainerStatus& status = container.status;
  if (status.recovery.empty()) return;
  Event& event = decide(container, "healthy");
  if (status.incident_since) {
    event.attributes = {{"after", format_duration(now_.wall - *status.incident_since)}};
  }
  status.recovery.clear();
}

// The failures are over, and nothing had to be done. A decision that waits is taken back elsewhere.
void Supervisor::close_if_well(Container& container) {
  const ContainerStatus& status = container.status;
  if (status.incident.empty() || status.state != ServiceState::running) return;
  const bool well =
      std::all_of(status.checks.begin(), status.checks.end(), [](const CheckStatus& check) {
        return !acts(check.spec->role) || check.spec->observe ||
               (check.failing_streak == 0 && check.status != Health::unhealthy);
      });
  if (well) close_incident(container, "recovered");
}

// That a check became unhealthy, and what the restart policy makes of it.
void Supervisor::explain_unhealthy(const Container& container, std::size_t index,
                                   OnUnhealthy answer) {
  const ContainerStatus& status = container.status;
  const CheckStatus& check = status.checks[index];
  decide(container, "unhealthy").attributes = {{"check", check.spec->name},
                                               {"streak", std::to_string(check.failing_streak)},
                                               {"retries", std::to_string(check.spec->retries)}};
  explain_policy(container, std::string(name_of(check.spec->on_unhealthy)),
                 std::string(name_of(answer)));
}

void Supervisor::explain_policy(const Container& container, std::string asked, std::string answer) {
  const ContainerStatus& status = container.status;
  Event& event = decide(container, "policy");
  event.attributes = {{"asked", std::move(asked)},
                      {"restart", std::string(name_of(container.spec().restart.policy))},
                      {"restarts", std::to_string(status.restart_count)},
                      {"answer", std::move(answer)}};
  if (status.restart_limit_remaining) {
    event.attributes.emplace_back("left", std::to_string(*status.restart_limit_remaining));
  }
}

}  // namespace keepwell
