// The checkers of probes and verdicts: what counts, what it makes of the health, and what the
// health makes of the container.
#include <algorithm>

#include "tests/sim/checkers.h"

namespace keepwell {
namespace {

using std::chrono::seconds;

Letter letter_of(const ProbeEnded& ended) {
  if (ended.how == ProbeEnded::How::killed) return Letter::timeout;
  if (ended.how != ProbeEnded::How::exited) return Letter::fail;
  if (ended.code == 0) return Letter::pass;
  return ended.code == 2 ? Letter::exit_2 : Letter::fail;
}

// A reload has changed the rule under a state: a history under the new rule that leads to it.
void resync(Ledger::Check& ledger, const CheckStatus& check) {
  ledger.history.clear();
  ledger.verdict.reset();
  ledger.untracked = false;
  if (check.status == Health::healthy) ledger.history.push_back({Letter::pass, false});
  for (int i = 0; i < check.failing_streak; ++i) ledger.history.push_back({Letter::fail, false});
  ledger.beginning = beginning_of(ledger.history, check.spec->retries);
  const ModelVerdict verdict = model_verdict(ledger.history, check.spec->retries, ledger.beginning);
  ledger.untracked =
      verdict.status != check.status || verdict.failing_streak != check.failing_streak;
}

}  // namespace

void Checkers::check_verdicts(const Step& step, const ContainerStatus& after, const Seen* before) {
  Ledger& ledger = ledgers_[after.id];
  const bool began = before != nullptr && after.starts_total != before->starts_total;
  bool counted = false;
  for (const CheckStatus& check : after.checks) {
    const bool known = ledger.checks.contains(check.spec->name);
    Ledger::Check& expected = ledger.checks[check.spec->name];
    if (!known) expected.counted = check.probes_total;
    if (began || !known) {
      expected.history.clear();
      expected.verdict.reset();
      expected.excused_at = 0;
      expected.beginning = {};
      expected.untracked = false;
    }
    const bool same =
        known && expected.spec && (expected.spec == check.spec || *expected.spec == *check.spec);
    if (!same) expected.verdict.reset();
    expected.spec = check.spec;
    if (known && !same && !began && check.status != Health::none) resync(expected, check);
    if (check.probes_total == expected.counted) continue;
    counted = true;
    check_counted(step, after, check, expected);
    if (before != nullptr) check_action(step, after, *before, check);
  }
  for (const CheckStatus& check : after.checks) {
    Ledger::Check& expected = ledger.checks[check.spec->name];
    if (check.status == Health::none || expected.untracked) continue;
    if (!expected.verdict) {
      expected.verdict = model_verdict(expected.history, check.spec->retries, expected.beginning);
    }
    const ModelVerdict& verdict = *expected.verdict;
    if (verdict.status != check.status || verdict.failing_streak != check.failing_streak) {
      complain(after, check.spec->name + " is " + to_string(check.status) + " with streak " +
                          std::to_string(check.failing_streak) + ", expected " +
                          to_string(verdict.status) + " with " +
                          std::to_string(verdict.failing_streak));
    }
  }
  if (step.ended != nullptr && step.about == after.id && !counted && before != nullptr) {
    check_uncounted(step, after, *before);
  }
}

void Checkers::check_counted(const Step& step, const ContainerStatus& after,
                             const CheckStatus& check, Ledger::Check& ledger) {
  if (check.probes_total != ledger.counted + 1 || step.ended == nullptr || step.about != after.id) {
    ledger.counted = check.probes_total;
    return complain(after, "a result of " + check.spec->name + " was counted that never was");
  }
  ledger.counted++;
  const ProbeEnded& ended = *step.ended;
  const VirtualEngine::Probe& probe = step.engine.ended_probe();
  if (probe.check->name != check.spec->name) complain(after, "another check's result was counted");
  if (probe.container.run != after.run) complain(after, "a result of an earlier run was counted");
  if (ended.how == ProbeEnded::How::our_fault || ended.how == ProbeEnded::How::container_gone) {
    complain(after, "a fault of our own was counted");
  }
  if (ended.how == ProbeEnded::How::killed) {
    Instant due = probe.ordered + seconds(30);
    if (probe.entered) due = std::min(due, *probe.entered + probe.check->timeout);
    const Instant killed = probe.kill_asked.value_or(Instant{});
    if (probe.started && *probe.started <= killed) due = *probe.started + probe.check->timeout;
    if (killed < due) {
      complain(after, "a probe was killed before its time, and counted");
    } else if (last_stall_) {
      const Instant from = probe.started.value_or(probe.entered.value_or(probe.ordered));
      const Duration allowed = due - from;
      const Instant until = last_stall_->from + last_stall_->length;
      const Duration unwatched =
          std::min(until, *probe.kill_asked) - std::max(last_stall_->from, from);
      // One that was over before the timeout, or so soon after it that it was noticed in time, has
      // taken nothing from the probe.
      if (until - due > kLateTimeout && unwatched > kLateTimeout &&
          *probe.kill_asked - from - unwatched < allowed - kLateTimeout)
        complain(after, "a probe was killed for a time in which nobody looked, and counted");
    }
  }
  if (last_suspend_ && probe.ordered < *last_suspend_) {
    complain(after, "a result that was in flight during a suspend was counted");
  }
  // By then its timeout, or the guard of its start, was overdue by more than we may forgive us.
  const Duration enough =
      probe.check->timeout + seconds(30) + std::max<Duration>(kLatenessMax, check.spec->interval);
  if (last_stall_ && last_stall_->length > enough && probe.ordered < last_stall_->from &&
      step.now.mono >= last_stall_->from + last_stall_->length) {
    complain(after, "a result from a time in which nobody looked was counted");
  }
  const std::string run = "run " + std::to_string(after.run);
  if (check.log.empty() || (check.log.back().output.find(run) == std::string::npos &&
                            check.log.back().output.find("timed out") != 0)) {
    complain(after, "the log does not end with this run's result");
  }
  const Instant began = probe.started.value_or(probe.ordered);
  // Behind a later pass nothing has a meaning any more.
  if (letter_of(ended) == Letter::pass && ledger.beginning.ended) {
    ledger.history.clear();
    ledger.beginning = {1, true};
  }
  ledger.history.push_back(
      {letter_of(ended), began - after.started_mono < check.spec->start_period});
  ledger.verdict.reset();
  if (ledger.untracked) {
    if (letter_of(ended) == Letter::pass) resync(ledger, check);
    return;
  }
  if (!ledger.beginning.ended) {
    ledger.beginning = beginning_of(ledger.history, check.spec->retries);
  }
}

// A result of the service, brought about by nobody else, must count.
void Checkers::check_uncounted(const Step& step, const ContainerStatus& after, const Seen& before) {
  const ProbeEnded& ended = *step.ended;
  const VirtualEngine::Probe& probe = step.engine.ended_probe();
  const bool of_service =
      ended.how == ProbeEnded::How::exited || ended.how == ProbeEnded::How::start_failed;
  const bool voided_now =
      std::any_of(step.actions.begin(), step.actions.end(), [&](const Action& action) {
        const auto* kill = std::get_if<KillProbe>(&action);
        return kill != nullptr && kill->probe == ended.probe;
      });
  if (of_service && !probe.kill_asked && !voided_now && before.state == ServiceState::running &&
      probe.container.run == after.run && !pausing_.contains(after.id) &&
      !unanswered_.contains(after.id)) {
    const bool still = std::any_of(
        after.checks.begin(), after.checks.end(),
        [&](const CheckStatus& check) { return check.spec->name == probe.check->name; });
    if (still) complain(after, "a result of " + probe.check->name + " was not counted");
  }
}

// Every check of a running container is in flight, or has a time at which it will be.
void Checkers::check_probing(const Step& step, const ContainerStatus& after) {
  const bool probing = after.state == ServiceState::running && !unanswered_.contains(after.id) &&
                       !pausing_.contains(after.id);
  for (const CheckStatus& check : after.checks) {
    const auto& probes = step.engine.probes();
    const auto in_flight = std::find_if(probes.begin(), probes.end(), [&](const auto& each) {
      return each.second.container.id == after.id && each.second.check->name == check.spec->name;
    });
    const bool started_now =
        std::any_of(step.actions.begin(), step.actions.end(), [&](const Action& action) {
          const auto* start = std::get_if<StartProbe>(&action);
          return start != nullptr && start->order.container.id == after.id &&
                 start->order.check->name == check.spec->name;
        });
    const bool held = check.paused_by_hand || gated(after, check);
    // The result that passes a startup check comes before the gate that it opens.
    const bool by_hand = by_hand_.contains({after.id, check.spec->name});
    if (started_now && (!probing || (held && !by_hand))) {
      complain(after, "a probe was started where none may be");
    }
    if (started_now) by_hand_.erase({after.id, check.spec->name});
    if (!probing || held) {
      // A restored plan stands until its container has been adopted.
      if (check.next_probe && !unanswered_.contains(after.id)) {
        complain(after, "a probe is planned where none may be");
      }
      continue;
    }
    if (!started_now && in_flight == probes.end() && !check.next_probe) unplanned_++;
    const Duration most =
        std::max({check.spec->interval, check.spec->start_interval, check.spec->initial_delay});
    if (check.next_probe && *check.next_probe - step.now.mono > most) {
      complain(after, check.spec->name + " is planned too far off");
    }
    if (in_flight == probes.end() || last_stall_) continue;
    const Duration age = step.now.mono - in_flight->second.ordered;
    if (age > check.spec->timeout + seconds(30) + seconds(60)) {
      complain(after, "a probe of " + check.spec->name + " goes on for ever");
    }
  }
}

bool Checkers::gated(const ContainerStatus& container, const CheckStatus& check) {
  if (check.spec->role == CheckRole::startup) return check.status == Health::healthy;
  return std::any_of(container.checks.begin(), container.checks.end(), [](const auto& each) {
    return each.spec->role == CheckRole::startup && each.status != Health::healthy &&
           !each.paused_by_hand;
  });
}

// By what was seen before this step: what a dependency excuses.
bool Checkers::excused(const ServiceSpec& spec) const {
  return std::any_of(spec.depends_on.begin(), spec.depends_on.end(), [this](const auto& each) {
    if (!each.excuses) return false;
    bool any = false;
    bool well = false;
    for (const auto& [id, seen] : seen_) {
      if (seen.service != each.service) continue;
      any = true;
      const bool job = each.condition == DependencyCondition::completed_successfully;
      well = well || (job ? seen.done_well : seen.runs_well);
    }
    return any && !well;
  });
}

// A hook is run only for a check that is unhealthy and acts.
void Checkers::check_hooks(const Step& step) {
  for (const Action& action : step.actions) {
    const auto* hook = std::get_if<RunHook>(&action);
    if (hook == nullptr) continue;
    bool cause = false;
    for (const ContainerStatus* each : step.supervisor.containers()) {
      for (const CheckStatus& check : each->checks) {
        const bool role =
            check.spec->role == CheckRole::live || check.spec->role == CheckRole::startup;
        cause = cause || (role && check.status == Health::unhealthy && !check.spec->observe &&
                          hook->order.input.find(each->id) != std::string::npos);
      }
    }
    if (!cause) complain("hook " + hook->order.name + " was run for nothing");
    std::string id;
    std::string name;
    for (const auto& [key, value] : hook->order.env) {
      if (key == "KEEPWELL_CONTAINER_ID") id = value;
      if (key == "KEEPWELL_CHECK") name = value;
    }
    if (!hooks_run_[{id, name}].insert(hook->order.name).second) {
      complain("hook " + hook->order.name + " was run twice for one failure of " + name);
    }
  }
  forget_hooks(step);
}

// What ends a failure: the check passes, its container does not simply run, or the rules change.
void Checkers::forget_hooks(const Step& step) {
  if (std::holds_alternative<Configure>(step.input)) return hooks_run_.clear();
  std::erase_if(hooks_run_, [&](const auto& entry) {
    const ContainerStatus* container = step.supervisor.find(entry.first.first);
    if (container == nullptr || container->state != ServiceState::running ||
        container->stopped_by_hand) {
      return true;
    }
    return std::none_of(container->checks.begin(), container->checks.end(), [&](const auto& each) {
      return each.spec->name == entry.first.second && each.status == Health::unhealthy;
    });
  });
}

// What unhealthy does, worked out again.
void Checkers::check_action(const Step& step, const ContainerStatus& after, const Seen& before,
                            const CheckStatus& check) {
  if (before.state != ServiceState::running || before.stopped_by_hand) return;
  const RestartSpec& restart = after.spec->restart;
  const Ledger& ledger = ledgers_[after.id];
  OnUnhealthy action =
      check.status == Health::unhealthy ? check.spec->on_unhealthy : OnUnhealthy::none;
  const bool role_acts =
      check.spec->role == CheckRole::live || check.spec->role == CheckRole::startup;
  if (check.status == Health::unhealthy && role_acts && !step.supervisor.shutting_down()) {
    int& excused_at = ledgers_[after.id].checks[check.spec->name].excused_at;
    if (check.failing_streak < excused_at) excused_at = 0;
    if (excused(*after.spec)) excused_at = check.failing_streak;
    const bool held_back =
        excused_at > 0 &&
        (excused(*after.spec) || check.failing_streak - excused_at < check.spec->retries);
    const bool hooks = std::any_of(
        check.spec->actions.begin(), check.spec->actions.end(),
        [](const ActionSpec& each) { return each.first && each.kind == ActionKind::hook; });
    const bool waits = hooks && !check.spec->observe && !check.actions_done;
    if (held_back) {
      action = OnUnhealthy::none;
    } else if (waits && after.state == ServiceState::running) {
      const bool runs = !step.engine.hooks().empty() ||
                        std::any_of(step.actions.begin(), step.actions.end(), [](const auto& each) {
                          return std::holds_alternative<RunHook>(each);
                        });
      if (!runs) complain(after, check.spec->name + " waits for a hook that does not run");
      action = OnUnhealthy::none;
    }
  } else {
    ledgers_[after.id].checks[check.spec->name].excused_at = 0;
  }
  if (check.spec->observe || step.supervisor.shutting_down()) action = OnUnhealthy::none;
  if (check.spec->role == CheckRole::ready || check.spec->role == CheckRole::info) {
    action = OnUnhealthy::none;
  }
  if (action == OnUnhealthy::policy) {
    const bool tries_left = restart.max_attempts == 0 || ledger.restarts < restart.max_attempts;
    const bool allowed = restart.policy == RestartPolicy::always ||
                         restart.policy == RestartPolicy::unless_stopped ||
                         (restart.policy == RestartPolicy::on_failure && tries_left);
    action = allowed ? OnUnhealthy::restart : OnUnhealthy::none;
  }
  if (action == OnUnhealthy::restart && restart.limit_count > 0) {
    const auto inside =
        std::count_if(ledger.restart_times.begin(), ledger.restart_times.end(), [&](Instant at) {
          return restart.limit_window == Duration{0} || step.now.mono - at < restart.limit_window;
        });
    if (inside >= restart.limit_count) action = OnUnhealthy::none;
    if (ledger.restart_times_unsure) return;
  }
  ServiceState expected = ServiceState::running;
  if (action == OnUnhealthy::restart) expected = ServiceState::restarting;
  if (action == OnUnhealthy::stop || action == OnUnhealthy::kill) expected = ServiceState::stopping;
  if (after.state != expected) {
    complain(after, check.spec->name + " is " + to_string(check.status) + ": state " +
                        to_string(after.state) + ", expected " + to_string(expected));
  }
}

}  // namespace keepwell
