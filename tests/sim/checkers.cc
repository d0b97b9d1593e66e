#include "tests/sim/checkers.h"

#include <algorithm>

namespace keepwell {
namespace {

using std::chrono::seconds;

const std::string* id_in(const Input& input) {
  if (const auto* command = std::get_if<Command>(&input)) return &command->container;
  const auto* event = std::get_if<EngineEvent>(&input);
  if (event == nullptr) return nullptr;
  return std::visit(
      [](const auto& each) -> const std::string* {
        if constexpr (requires { each.container; }) return &each.container.id;
        return nullptr;
      },
      *event);
}

Duration doubled(const RestartSpec& spec, Duration last) {
  return last == Duration{0} ? spec.delay : std::min<Duration>(last * 2, spec.max_delay);
}

}  // namespace

bool Checkers::live(ServiceState state) {
  return state == ServiceState::starting || state == ServiceState::running ||
         state == ServiceState::paused || state == ServiceState::stopping ||
         state == ServiceState::restarting;
}

void Checkers::complain(const ContainerStatus& container, const std::string& text) {
  complain(container.name + " (" + container.id.substr(0, 6) + " run " +
           std::to_string(container.run) + "): " + text);
}

Checkers::Seen Checkers::see(const ContainerStatus& container) {
  return {.state = container.state,
          .run = container.run,
          .starts_total = container.starts_total,
          .health = container.health,
          .next_start = container.next_start,
          .started_mono = container.started_mono,
          .stopped_by_hand = container.stopped_by_hand,
          .start_at_next_run = container.start_at_next_run,
          .events_told = container.events_told,
          .runs_well = container.state == ServiceState::running &&
                       (container.health == Health::none || container.health == Health::healthy),
          .done_well = container.state == ServiceState::exited && container.exit_known &&
                       container.exit_code == 0 && container.error.empty(),
          .service = container.spec->name};
}

void Checkers::after_restore(const std::vector<Action>& actions, const Supervisor& supervisor) {
  seen_.clear();
  unanswered_.clear();
  pausing_.clear();
  by_hand_.clear();
  hooks_run_.clear();
  for (auto& [id, ledger] : ledgers_) {
    for (auto& [name, check] : ledger.checks) check.excused_at = 0;
  }
  for (const ContainerStatus* container : supervisor.containers()) {
    seen_[container->id] = see(*container);
  }
  for (const Action& action : actions) {
    if (std::holds_alternative<Emit>(action)) complain("a restore told an event");
    if (const auto* adopt = std::get_if<AdoptContainer>(&action)) {
      unanswered_.insert(adopt->order.start.container.id);
    }
  }
}

void Checkers::after_step(const Input& input, const std::vector<Action>& actions,
                          const Supervisor& supervisor, const VirtualEngine& engine, Now now) {
  Step step{.input = input,
            .actions = actions,
            .supervisor = supervisor,
            .engine = engine,
            .now = now,
            .ended = nullptr,
            .exited = nullptr,
            .command = std::get_if<Command>(&input),
            .failed = std::get_if<SignalFailed>(&input),
            .about = {}};
  if (const auto* event = std::get_if<EngineEvent>(&input)) {
    step.ended = std::get_if<ProbeEnded>(event);
    step.exited = std::get_if<ContainerExited>(event);
  }
  if (const std::string* id = id_in(input)) step.about = *id;
  if (step.ended != nullptr) step.about = engine.ended_probe().container.id;

  const auto deadline = supervisor.next_deadline();
  if (deadline && *deadline <= now.mono) complain("the next deadline has passed already");
  check_replies(step);
  note_command(step);
  note_news(step);
  for (const Action& action : actions) {
    if (const auto* start = std::get_if<StartContainer>(&action)) check_start(step, *start);
    if (const auto* signal = std::get_if<SignalContainer>(&action)) check_stop_order(step, *signal);
  }
  check_hooks(step);
  std::map<std::string, Seen> seen;
  unplanned_ = 0;
  for (const ContainerStatus* container : supervisor.containers()) {
    check_container(step, *container);
    seen.emplace(container->id, see(*container));
  }
  if (unplanned_ > supervisor.probes_waiting()) {
    complain("a check is neither in flight nor planned nor waiting");
  }
  const auto& project = supervisor.project();
  if (project &&
      supervisor.probes_in_flight() > static_cast<std::size_t>(project->probes_at_once)) {
    complain("more probes at once than probes_at_once");
  }
  seen_ = std::move(seen);
}

void Checkers::check_replies(const Step& step) {
  for (const Action& action : step.actions) {
    const auto* reply = std::get_if<Reply>(&action);
    if (reply == nullptr) continue;
    if (open_.erase(reply->request) == 0) {
      complain("request " + std::to_string(reply->request) + " was answered twice, or never asked");
    }
  }
}

// What a person wants, by the rules of the command line and not by the Supervisor's flags.
void Checkers::note_command(const Step& step) {
  if (step.command == nullptr) return;
  const Command& command = *step.command;
  const auto found = seen_.find(command.container);
  if (found == seen_.end()) return;
  const ServiceState state = found->second.state;
  Ledger& ledger = ledgers_[command.container];
  const bool asleep = unanswered_.contains(command.container) || state == ServiceState::starting;
  const auto fresh = [&] {
    ledger.stop_asked = false;
    ledger.restarts = 0;
    ledger.backoff = Duration{0};
    ledger.restart_times.clear();
    ledger.restart_times_unsure = false;
  };
  switch (command.kind) {
    case Command::Kind::start:
      if (state == ServiceState::running) {
        // Nobody followed for it while it was to go.
        ledger.follow_unsure = ledger.follow_unsure || ledger.stop_asked;
        ledger.stop_asked = false;
      }
      if (state == ServiceState::stopping || !live(state)) fresh();
      return;
    case Command::Kind::restart:
      return fresh();
    case Command::Kind::stop:
      if (live(state) || state == ServiceState::backoff || state == ServiceState::created) {
        ledger.stop_asked = true;
      }
      return;
    case Command::Kind::kill: {
      const bool ends = command.signal == 9 || command.signal == 15;
      if (!ends || state == ServiceState::restarting) return;
      if (state == ServiceState::backoff) ledger.stop_asked = true;
      if (!live(state) || (asleep && command.signal == 15)) return;
      ledger.stop_asked = true;
      return;
    }
    case Command::Kind::probe_now: {
      const ContainerStatus* target = step.supervisor.find(command.container);
      if (target == nullptr) return;
      for (const CheckStatus& check : target->checks) {
        by_hand_.emplace(target->id, check.spec->name);
      }
      return;
    }
    case Command::Kind::pause:
    case Command::Kind::unpause:
    case Command::Kind::pause_check:
    case Command::Kind::resume_check:
    case Command::Kind::hold:
    case Command::Kind::release:
      return;
  }
}

void Checkers::note_news(const Step& step) {
  // A new `keepwell run` starts what the last one had stopped in order to end.
  if (std::holds_alternative<Configure>(step.input)) {
    for (const auto& [id, seen] : seen_) {
      if (seen.start_at_next_run && seen.state == ServiceState::exited) {
        ledgers_[id].stop_asked = false;
      }
    }
  }
  if (const auto* event = std::get_if<EngineEvent>(&step.input)) {
    if (std::holds_alternative<ContainerStarted>(*event) || step.exited != nullptr ||
        std::holds_alternative<ContainerStartFailed>(*event)) {
      unanswered_.erase(step.about);
      pausing_.erase(step.about);
    }
    if (std::holds_alternative<ContainerPaused>(*event)) pausing_.erase(step.about);
  }
  for (const Action& action : step.actions) {
    if (const auto* pause = std::get_if<PauseContainer>(&action)) {
      pausing_.insert(pause->container.id);
    }
  }
}

void Checkers::check_container(const Step& step, const ContainerStatus& after) {
  const auto found = seen_.find(after.id);
  const Seen* before = found == seen_.end() ? nullptr : &found->second;
  Ledger& ledger = ledgers_[after.id];
  if (before == nullptr) ledger.stop_asked = after.stopped_by_hand;
  if (ledger.spec && ledger.spec->restart != after.spec->restart) {
    ledger.restart_times_unsure = !ledger.restart_times.empty();
    ledger.restart_times.clear();
  }
  if (ledger.spec && ledger.spec->depends_on != after.spec->depends_on) ledger.follow_unsure = true;
  ledger.spec = after.spec;
  if (before != nullptr && live(before->state) && !live(after.state)) {
    ledger.spec_at_end = after.spec;
  }
  if (before != nullptr && before->state != ServiceState::stopping &&
      after.state == ServiceState::stopping) {
    ledger.spec_at_stop = after.spec;
  }
  check_events(step, after, before);
  if (before != nullptr) {
    note_stability(step, after, *before);
    if (step.exited != nullptr && step.about == after.id) check_exit(step, after, *before);
    if (const auto* event = std::get_if<EngineEvent>(&step.input)) {
      const bool failed_to_start = std::holds_alternative<ContainerStartFailed>(*event) &&
                                   step.about == after.id && live(before->state) &&
                                   after.run == before->run;
      if (failed_to_start) check_start_failed(step, after, *before);
    }
    check_backoff(step, after, *before);
  }
  check_verdicts(step, after, before);
  check_probing(step, after);
  check_undelivered(step, after);
  if (after.restart_count != ledger.restarts) {
    complain(after, "restart count " + std::to_string(after.restart_count) + ", expected " +
                        std::to_string(ledger.restarts));
  }
  if (after.state == ServiceState::running && after.pid == 0) complain(after, "runs without a pid");
  if (!live(after.state) && after.pid != 0) complain(after, "has a pid and does not run");
}

void Checkers::check_events(const Step& step, const ContainerStatus& after, const Seen* before) {
  const Health old = before == nullptr ? Health::none : before->health;
  for (const Health health : {Health::starting, Health::healthy, Health::unhealthy}) {
    const int told =
        told_in(step, after, before, std::string("health_status: ") + to_string(health));
    // Of one that has ended a reload may change it, which is no news.
    const bool due =
        after.health == health && old != health && health != Health::starting && after.pid != 0;
    if (told != (due ? 1 : 0)) {
      complain(after, std::string("health went from ") + to_string(old) + " to " +
                          to_string(after.health) + " with " + std::to_string(told) +
                          " events of " + to_string(health));
    }
  }
  const int starts = told_in(step, after, before, "start");
  const std::uint64_t expected = before == nullptr ? 0 : after.starts_total - before->starts_total;
  if (starts != static_cast<int>(expected)) complain(after, "starts and start events differ");
  const auto* event = std::get_if<EngineEvent>(&step.input);
  const auto* failed = event == nullptr ? nullptr : std::get_if<ContainerStartFailed>(event);
  std::uint64_t run = step.exited != nullptr ? step.exited->container.run : 0;
  // An adoption that finds nothing of what had been told to start tells of its end.
  const Told& told = told_[after.id];
  if (failed != nullptr && told.alive && !told.unsure) run = failed->container.run;
  const bool ended = run != 0 && step.about == after.id && before != nullptr &&
                     live(before->state) && before->run == run;
  if (told_in(step, after, before, "die") != (ended ? 1 : 0)) {
    complain(after, "ends and die events differ");
  }
}

void Checkers::check_exit(const Step& step, const ContainerStatus& after, const Seen& before) {
  if (!live(before.state) || before.run != step.exited->container.run) return;
  Ledger& ledger = ledgers_[after.id];
  if (step.exited->known ? after.exit_code != step.exited->code
                         : (after.exit_known || after.exit_code != 255)) {
    complain(after, "the exit status is not the kernel's");
  }
  const RestartSpec& restart = after.spec->restart;
  // One that ended before its start was told has begun and ended in this very step.
  const bool began_now = after.starts_total != before.starts_total;
  bool stable = !began_now && ledger.was_stable;
  if (!began_now && after.health == Health::none) {
    stable = step.now.mono - before.started_mono >= restart.reset_after;
  } else if (!began_now && ledger.healthy_since) {
    stable = stable || step.now.mono - *ledger.healthy_since >= restart.reset_after;
  }
  ledger.backoff = stable ? restart.delay : doubled(restart, ledger.backoff);
  if (ledger.stop_asked && (live(after.state) || after.state == ServiceState::backoff)) {
    complain(after, "goes on although a stop was asked");
  }
}

void Checkers::check_start_failed(const Step& step, const ContainerStatus& after,
                                  const Seen& before) {
  const auto& event = std::get<ContainerStartFailed>(std::get<EngineEvent>(step.input));
  Ledger& ledger = ledgers_[after.id];
  ledger.backoff = doubled(after.spec->restart, ledger.backoff);
  // The order of an agent that died was lost: that is not held against the service.
  if (event.text == kNeverRan && before.state == ServiceState::starting &&
      !step.supervisor.shutting_down() && told_in(step, after, &before, "start_failed") > 0) {
    complain(after, "is blamed for an order that never reached it");
  }
}

void Checkers::note_stability(const Step& step, const ContainerStatus& after, const Seen& before) {
  Ledger& ledger = ledgers_[after.id];
  if (after.starts_total != before.starts_total) {
    ledger.was_stable = false;
    ledger.healthy_since.reset();
    return;
  }
  if (before.health == Health::healthy && after.health != Health::healthy) {
    const bool stable = ledger.healthy_since &&
                        step.now.mono - *ledger.healthy_since >= after.spec->restart.reset_after;
    ledger.was_stable = ledger.was_stable || stable;
    ledger.healthy_since.reset();
  }
  if (before.health != Health::healthy && after.health == Health::healthy) {
    ledger.healthy_since = step.now.mono;
  }
}

void Checkers::check_backoff(const Step& step, const ContainerStatus& after, const Seen& before) {
  if (after.state != ServiceState::backoff || before.state == ServiceState::backoff) return;
  Ledger& ledger = ledgers_[after.id];
  const RestartSpec& restart = after.spec->restart;
  if (ledger.stop_asked) complain(after, "is to be restarted although a stop was asked");
  const bool counts = !excused(*after.spec);
  if (counts && restart.policy == RestartPolicy::on_failure && restart.max_attempts > 0 &&
      ledger.restarts >= restart.max_attempts && before.state != ServiceState::restarting) {
    complain(after, "is restarted more often than on-failure allows");
  }
  if (counts) ledger.restarts++;
  if (counts && restart.limit_count > 0) {
    ledger.restart_times.push_back(step.now.mono);
    const auto inside =
        std::count_if(ledger.restart_times.begin(), ledger.restart_times.end(), [&](Instant at) {
          return restart.limit_window == Duration{0} || step.now.mono - at < restart.limit_window;
        });
    if (inside > restart.limit_count) complain(after, "is restarted more often than its limit");
  }
  if (after.backoff != ledger.backoff) {
    complain(after, "backoff " + std::to_string(after.backoff.count()) + " ns, expected " +
                        std::to_string(ledger.backoff.count()));
  }
  const Duration wait = after.next_start.value_or(Instant{}) - step.now.mono;
  if (wait < ledger.backoff || wait > ledger.backoff * 2)
    complain(after, "waits too short or long");
}

// ---- starting and stopping

// REQUIRED_COUNTS: one that is not required may also be missing or have failed.
bool Checkers::dependency_met(const Dependency& dependency, const Supervisor& supervisor,
                              bool required_counts) {
  const bool optional = required_counts && !dependency.required;
  bool any = false;
  for (const ContainerStatus* other : supervisor.containers()) {
    if (other->spec->name != dependency.service) continue;
    any = true;
    const bool runs = other->state == ServiceState::running || other->state == ServiceState::paused;
    const bool ended = other->state == ServiceState::exited;
    const bool done = ended && other->exit_known && other->error.empty();
    // It was started, however it has ended.
    const bool began = ended && (done || !other->exit_known) && !other->stopped_by_hand;
    if (dependency.condition == DependencyCondition::started && (runs || began)) continue;
    if (dependency.condition == DependencyCondition::healthy && runs &&
        other->health == Health::healthy) {
      continue;
    }
    if (dependency.condition == DependencyCondition::completed_successfully && done &&
        other->exit_code == 0) {
      continue;
    }
    return optional;
  }
  return any || optional;
}

void Checkers::check_start(const Step& step, const StartContainer& start) {
  const std::string& id = start.order.container.id;
  const ContainerStatus* after = step.supervisor.find(id);
  if (after == nullptr) return complain("an unknown container was started");
  const auto found = seen_.find(id);
  Ledger& ledger = ledgers_[id];
  if (ledger.stop_asked && found != seen_.end()) {
    complain(*after, "was started although a stop was asked");
  }
  if (step.supervisor.shutting_down()) complain(*after, "was started while keepwell ends");
  const bool by_itself = step.about != id;
  if (found != seen_.end() && found->second.state == ServiceState::backoff && by_itself &&
      found->second.next_start && step.now.mono < *found->second.next_start) {
    complain(*after, "was started before its backoff was over");
  }
  if (!by_itself || (found != seen_.end() && found->second.state == ServiceState::backoff)) return;
  for (const Dependency& dependency : after->spec->depends_on) {
    if (!dependency_met(dependency, step.supervisor, true)) {
      complain(*after, "was started before " + dependency.service + " was ready");
    }
  }
}

void Checkers::check_stop_order(const Step& step, const SignalContainer& signal) {
  if (!step.supervisor.shutting_down()) return;
  const ContainerStatus* stopped = step.supervisor.find(signal.container.id);
  const auto before = seen_.find(signal.container.id);
  if (stopped == nullptr || before == seen_.end()) return;
  if (before->second.state == ServiceState::stopping ||
      before->second.state == ServiceState::restarting) {
    return;
  }
  for (const ContainerStatus* other : step.supervisor.containers()) {
    if (!live(other->state)) continue;
    for (const Dependency& dependency : other->spec->depends_on) {
      if (dependency.service == stopped->spec->name) {
        complain(*stopped, "was stopped before " + other->name + ", which depends on it");
      }
    }
  }
}

}  // namespace keepwell
