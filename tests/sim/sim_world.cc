#include "tests/sim/sim_world.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "agent/event_bus.h"
#include "agent/simulation/simulation.h"
#include "tests/sim/scenario.h"
#include "tests/sim/trace.h"

namespace keepwell {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr Duration kHealing = minutes(20);
constexpr Duration kHealingOfSmall = seconds(150);
constexpr Duration kEnding = minutes(10);

// What a container gets to feel.
bool is_order(const Action& action) {
  return std::holds_alternative<StartContainer>(action) ||
         std::holds_alternative<SignalContainer>(action) ||
         std::holds_alternative<KillContainer>(action) ||
         std::holds_alternative<PauseContainer>(action) ||
         std::holds_alternative<ResumeContainer>(action) ||
         std::holds_alternative<RemoveContainer>(action) || std::holds_alternative<RunHook>(action);
}

// What is gone with the agent anyhow: a death before it and one behind it leave the same.
bool leaves_nothing(const Action& action) {
  const auto* emit = std::get_if<Emit>(&action);
  return (emit != nullptr && emit->event.probe) || std::holds_alternative<StartProbe>(action) ||
         std::holds_alternative<KillProbe>(action) || std::holds_alternative<Reply>(action) ||
         std::holds_alternative<Record>(action);
}

bool is_news(const Action& action) {
  const auto* emit = std::get_if<Emit>(&action);
  return emit != nullptr && !emit->event.probe;
}

}  // namespace

SimWorld::SimWorld(std::uint64_t seed, Options options)
    : random_(seed),
      options_(options),
      faults_(options.small ? Faults::small(random_) : Faults::swarm(random_)),
      now_{Instant(hours(1)), WallTime(hours(500000))},
      project_(std::make_shared<ProjectSpec>(options.small ? make_small_project(random_)
                                                           : make_project(random_))),
      checkers_(outcome_.violation),
      world_(random_.next(), faults_),
      engine_(world_.world(), [this](const std::string& text) { checkers_.complain(text); }) {}

SimWorld::Outcome SimWorld::run() {
  const Instant began = now_.mono;
  engine_.set_now(now_);
  plan_next_world_event();
  begin_agent();
  go_on_until(began + options_.faulty);
  if (!outcome_.violation) heal_and_check();
  if (!outcome_.violation && !options_.small) end_and_run_again();
  outcome_.virtual_time = now_.mono - began;
  return outcome_;
}

// ---- the agent's life

std::vector<ContainerStatus> SimWorld::stored() const {
  std::vector<ContainerStatus> all;
  for (const auto& [id, record] : stored_) all.push_back(record.status);
  return all;
}

void SimWorld::begin_agent() {
  supervisor_ = std::make_unique<Supervisor>(random_.next());
  checkers_.forget_ledgers();
  for (const auto& [id, record] : stored_) checkers_.ledger(id) = record.ledger;
  std::vector<Action> actions;
  std::vector<ContainerStatus> records = stored();
  // Of one whose record is behind the times nobody knows what was told of what it does not say.
  // (It stays so for later agents, too, until it is written anew.)
  for (ContainerStatus& record : records) {
    if (!torn_.contains(record.id)) continue;
    for (const ToldEvent& event : told_) {
      if (event.id == record.id) record.events_told = std::max(record.events_told, event.ordinal);
    }
  }
  supervisor_->restore(records, {told_.begin(), told_.end()}, now_, actions);
  checkers_.restored(torn_);
  for (const std::string& id : torn_) engine_.record_lost(id);
  checkers_.after_restore(actions, *supervisor_);
  for (const Action& action : actions) perform(action);
  engine_.clean_leftovers();
  deliver(Configure{project_});
}

// At any boundary; and as often at those where something is about to be done or told, which are few
// among the many that deal with probes.
void SimWorld::plan_death() {
  constexpr Death::Among kKinds[] = {Death::Among::any, Death::Among::orders, Death::Among::news};
  death_ = Death{.among = kKinds[random_.between(0, 2)], .keeper_too = random_.chance(0.1)};
}

// How many of ACTIONS are performed before the agent dies, if it does so now; all of them: before
// it has acknowledged what it did them for.
std::optional<std::size_t> SimWorld::dies_after(const std::vector<Action>& actions) {
  if (actions.empty() || healing_) return std::nullopt;
  if (options_.small) return dies_at_boundary(actions);
  if (!death_) return std::nullopt;
  if (death_->among == Death::Among::orders &&
      std::none_of(actions.begin(), actions.end(), is_order)) {
    return std::nullopt;
  }
  if (death_->among == Death::Among::news &&
      std::none_of(actions.begin(), actions.end(), is_news)) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(random_.between(0, static_cast<int>(actions.size())));
}

// Counts those boundaries at which a death leaves something else than at the one before.
std::optional<std::size_t> SimWorld::dies_at_boundary(const std::vector<Action>& actions) {
  std::optional<std::size_t> dies;
  const auto boundary = [&](std::size_t performed) {
    const std::uint64_t here = outcome_.boundaries++;
    if (here == options_.death_at || here == second_death_at_) dies = performed;
  };
  if (std::all_of(actions.begin(), actions.end(), leaves_nothing)) return std::nullopt;
  boundary(0);
  for (std::size_t i = 0; i < actions.size(); ++i) {
    if (!leaves_nothing(actions[i])) boundary(i + 1);
  }
  if (!dies) return dies;
  death_ = Death{.keeper_too = options_.keeper_dies};
  if (options_.dies_again && !second_death_at_) {
    second_death_at_ = outcome_.boundaries + static_cast<std::uint64_t>(random_.between(0, 12));
  }
  return dies;
}

void SimWorld::agent_dies(bool keeper_too) {
  outcome_.deaths++;
  death_.reset();
  if (options_.trace)
    std::printf("%s the %s dies\n", stamp(now_).c_str(), keeper_too ? "keeper" : "agent");
  supervisor_.reset();
  inputs_.clear();
  checkers_.agent_died();
  keeper_too ? engine_.keeper_died() : engine_.agent_died();
  if (random_.chance(faults_.torn_records)) tear_a_record();
  if (!options_.small && random_.chance(0.2)) plan_death();  // the next one does not live long
  pass_time(
      random_.between(milliseconds(5), keeper_too ? Duration(seconds(30)) : milliseconds(500)));
  begin_agent();
}

// The newest record of some container cannot be read; the one before it can.
void SimWorld::tear_a_record() {
  if (stored_.empty()) return;
  auto torn = std::next(stored_.begin(), random_.between(0, static_cast<int>(stored_.size()) - 1));
  const auto before = stored_before_.find(torn->first);
  if (before == stored_before_.end()) return;
  if (options_.trace) {
    std::printf("%s the record of %s is torn\n", stamp(now_).c_str(),
                torn->first.substr(0, 6).c_str());
  }
  torn->second = before->second;
  torn_.insert(torn->first);
}

// ---- time

void SimWorld::pass_time(Duration duration) {
  now_.mono += duration;
  now_.wall += duration;
  engine_.set_now(now_);
}

void SimWorld::go_on_until(Instant end) {
  while (now_.mono < end && !outcome_.violation) step();
}

// To the next thing that happens, and one input from it.
void SimWorld::step() {
  std::optional<Instant> next = engine_.next();
  const auto deadline = supervisor_->next_deadline();
  if (deadline && (!next || *deadline < *next)) next = deadline;
  if (next_world_event_ && (!next || *next_world_event_ < *next)) next = next_world_event_;
  if (!next) next = now_.mono + seconds(1);
  if (*next > now_.mono) pass_time(*next - now_.mono);
  if (next_world_event_ && *next_world_event_ <= now_.mono) return world_event();
  // Who is first where both are due, a timer or news, is not ours to choose.
  const bool tick_due = deadline && *deadline <= now_.mono;
  if (tick_due && random_.chance(0.5)) return deliver(Tick{});
  if (auto event = engine_.take()) return deliver(EngineEvent(std::move(*event)));
  if (tick_due) deliver(Tick{});
}

void SimWorld::plan_next_world_event() {
  const double per_hour = faults_.agent_deaths + faults_.keeper_deaths + faults_.stalls +
                          faults_.suspends + faults_.wall_steps + faults_.commands +
                          faults_.reloads;
  next_world_event_.reset();
  if (per_hour <= 0 || healing_) return;
  const auto mean = static_cast<double>(Duration(hours(1)).count()) / per_hour;
  next_world_event_ = now_.mono + Duration(static_cast<Duration::rep>(2 * mean * random_.share())) +
                      milliseconds(1);
}

void SimWorld::world_event() {
  double pick = random_.share() *
                (faults_.agent_deaths + faults_.keeper_deaths + faults_.stalls + faults_.suspends +
                 faults_.wall_steps + faults_.commands + faults_.reloads);
  plan_next_world_event();
  const auto is = [&](double rate) { return (pick -= rate) < 0; };
  if (is(faults_.agent_deaths)) {
    plan_death();
  } else if (is(faults_.keeper_deaths)) {
    agent_dies(true);
  } else if (is(faults_.stalls)) {
    const Duration length = random_.between(milliseconds(100), minutes(2));
    checkers_.stalled(now_.mono, length);
    if (options_.trace) std::printf("%s a stall\n", stamp(now_).c_str());
    pass_time(length);
  } else if (is(faults_.suspends)) {
    now_.wall += random_.between(seconds(1), hours(10));
    engine_.set_now(now_);
    checkers_.suspended(now_.mono);
    deliver(Suspended{});
  } else if (is(faults_.wall_steps)) {
    now_.wall += random_.between(-hours(30), hours(30));
    engine_.set_now(now_);
  } else if (is(faults_.commands)) {
    command();
  } else {
    project_ = std::make_shared<ProjectSpec>(change_project(*project_, random_));
    deliver(Configure{project_});
  }
}

void SimWorld::command() {
  const auto all = supervisor_->containers();
  if (all.empty()) return;
  const ContainerStatus& target =
      *all[static_cast<std::size_t>(random_.between(0, static_cast<int>(all.size()) - 1))];
  Command command;
  command.kind = static_cast<Command::Kind>(random_.between(0, 8));
  command.request = ++last_request_;
  command.container = random_.chance(0.02) ? "nobody" : target.id;
  constexpr int kSignals[] = {0, 1, 9, 15, 10};
  if (command.kind == Command::Kind::kill) command.signal = kSignals[random_.between(1, 4)];
  if (random_.chance(0.3)) command.grace = random_.between(seconds(-2), seconds(8));
  checkers_.asked(command.request, command);
  deliver(command);
}

// ---- one input, its actions, and perhaps a death among them

void SimWorld::deliver(const Input& input) {
  outcome_.steps++;
  std::vector<Action> actions;
  supervisor_->handle(input, now_, actions);
  if (options_.trace) trace(now_, input, actions);
  checkers_.after_step(input, actions, *supervisor_, engine_, now_);
  const std::optional<std::size_t> last = dies_after(actions);
  for (std::size_t i = 0; i < last.value_or(actions.size()); ++i) perform(actions[i]);
  if (last) return agent_dies(death_->keeper_too);
  if (const auto* event = std::get_if<EngineEvent>(&input)) {
    if (const auto* exited = std::get_if<ContainerExited>(event)) {
      engine_.acknowledge(exited->container);
    }
  }
  if (inputs_.empty()) return;
  const Input next = std::move(inputs_.front());
  inputs_.pop_front();
  deliver(next);
}

void SimWorld::perform(const Action& action) {
  if (std::holds_alternative<StartContainer>(action)) outcome_.restarts++;
  if (std::holds_alternative<StartProbe>(action)) outcome_.probes++;
  if (const auto* signal = std::get_if<SignalContainer>(&action)) {
    checkers_.ordered(signal->container, false);
    if (!engine_.signal(signal->container, signal->signal)) {
      inputs_.push_back(SignalFailed{signal->container, signal->signal});
    }
    return;
  }
  if (const auto* kill = std::get_if<KillContainer>(&action)) {
    checkers_.ordered(kill->container, true);
  }
  if (give_order(engine_, action)) return;
  if (const auto* save = std::get_if<Save>(&action)) {
    store(*save);
  } else if (const auto* forget = std::get_if<Forget>(&action)) {
    stored_.erase(forget->id);
    stored_before_.erase(forget->id);
    torn_.erase(forget->id);
  } else if (const auto* emit = std::get_if<Emit>(&action)) {
    const Event& event = emit->event;
    if (event.probe) return;
    checkers_.told(event);
    told_.push_back({event.id, event.name, event.ordinal, event.action});
    if (told_.size() > kEventHistoryMax) told_.pop_front();
  } else if (std::holds_alternative<AllStopped>(action)) {
    all_stopped_ = true;
  }
}

// What the state files hold: the small JSON has all, the live record only what changes with probes.
void SimWorld::store(const Save& save) {
  const ContainerStatus* status = supervisor_->find(save.id);
  if (status == nullptr) return;
  const Ledger& ledger = checkers_.ledger(save.id);
  if (save.status) {
    if (const auto old = stored_.find(save.id); old != stored_.end()) {
      stored_before_[save.id] = old->second;
    }
    stored_[save.id] = {*status, ledger};
    torn_.erase(save.id);
    return;
  }
  const auto found = stored_.find(save.id);
  if (found == stored_.end()) return;
  Stored& record = found->second;
  record.status.checks = status->checks;
  record.status.health = status->health;
  record.status.healthy_since = status->healthy_since;
  record.status.restart_times = status->restart_times;
  record.status.events_told = status->events_told;
  record.ledger.checks = ledger.checks;
  record.ledger.healthy_since = ledger.healthy_since;
  record.ledger.was_stable = ledger.was_stable;
}

// ---- the phases after the faults

void SimWorld::heal_and_check() {
  healing_ = true;
  death_.reset();
  next_world_event_.reset();
  world_.heal();
  if (options_.trace) std::printf("%s healing\n", stamp(now_).c_str());
  go_on_until(now_.mono + (options_.small ? kHealingOfSmall : kHealing));
  if (!outcome_.violation) checkers_.all_well(*supervisor_, engine_);
}

void SimWorld::end_and_run_again() {
  if (options_.trace) std::printf("%s the end\n", stamp(now_).c_str());
  deliver(Shutdown{});
  go_on_until(now_.mono + kEnding);
  if (outcome_.violation) return;
  if (!all_stopped_) return checkers_.complain("keepwell did not come to its end");
  for (const auto& [id, host] : engine_.hosts()) {
    if (host.phase == VirtualEngine::Host::Phase::running) {
      return checkers_.complain("a process of " + id.substr(0, 6) + " outlived keepwell");
    }
  }
  if (options_.trace) std::printf("%s once more\n", stamp(now_).c_str());
  supervisor_.reset();
  engine_.agent_died();
  checkers_.agent_died();
  pass_time(minutes(1));
  begin_agent();
  go_on_until(now_.mono + kHealing);
  if (!outcome_.violation) checkers_.all_well(*supervisor_, engine_);
}

}  // namespace keepwell
