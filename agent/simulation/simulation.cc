#include "agent/simulation/simulation.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace keepwell {
namespace {

// Any instant does, if only nothing subtracts its way below zero.
constexpr Instant kBegin{std::chrono::hours(1)};

}  // namespace

bool give_order(Engine& engine, const Action& action) {
  if (const auto* start = std::get_if<StartContainer>(&action)) {
    engine.start(start->order);
  } else if (const auto* adopt = std::get_if<AdoptContainer>(&action)) {
    engine.adopt(adopt->order);
  } else if (const auto* signal = std::get_if<SignalContainer>(&action)) {
    (void)engine.signal(signal->container, signal->signal);
  } else if (const auto* kill = std::get_if<KillContainer>(&action)) {
    engine.kill(kill->container);
  } else if (const auto* pause = std::get_if<PauseContainer>(&action)) {
    engine.pause(pause->container);
  } else if (const auto* resume = std::get_if<ResumeContainer>(&action)) {
    engine.resume(resume->container);
  } else if (const auto* remove = std::get_if<RemoveContainer>(&action)) {
    engine.remove(remove->id);
  } else if (const auto* probe = std::get_if<StartProbe>(&action)) {
    engine.start_probe(probe->order);
  } else if (const auto* end = std::get_if<KillProbe>(&action)) {
    engine.kill_probe(end->probe);
  } else if (const auto* hook = std::get_if<RunHook>(&action)) {
    engine.run_hook(hook->order);
  } else {
    return false;
  }
  return true;
}

bool is_decision(const Event& event) {
  return event.kind == EventKind::decision &&
         (event.action == "restart" || event.action == "stop" || event.action == "suppressed" ||
          event.action == "gave_up");
}

Simulation::Simulation(Options options)
    : options_(std::move(options)),
      now_{.mono = kBegin, .wall = options_.begin},
      engine_(options_.world, [this](const std::string& text) {
        if (violation_.empty()) violation_ = text;
      }) {
  engine_.set_now(now_);
  begin_agent();
  give(Configure{options_.project});
}

void Simulation::begin_agent() {
  supervisor_ = std::make_unique<Supervisor>(++agents_);
  supervisor_->tell_probes(false);
  supervisor_->replay(options_.replay);
}

void Simulation::kill_agent() {
  if (!std::exchange(dead_, true)) engine_.agent_died();
}

void Simulation::restart_agent(std::shared_ptr<const ProjectSpec> project,
                               const std::function<void(ContainerStatus&)>& adjust) {
  std::vector<ContainerStatus> stored;
  for (const ContainerStatus* each : supervisor_->containers()) {
    stored.push_back(*each);
    if (adjust) adjust(stored.back());
  }
  if (!std::exchange(dead_, false)) engine_.agent_died();
  begin_agent();
  std::vector<Action> actions;
  supervisor_->restore(std::move(stored), {}, now_, actions);
  perform(actions);
  give(Configure{std::move(project)});
}

void Simulation::plan(WallTime at, std::function<void()> what) {
  planned_.emplace(now_.mono + (at - now_.wall), std::move(what));
}

void Simulation::run_until(WallTime end) {
  const Instant last = now_.mono + (end - now_.wall);
  while (step(last)) {
  }
  pass_to(last);
}

void Simulation::pass_to(Instant at) {
  if (at <= now_.mono) return;
  now_.wall += at - now_.mono;
  now_.mono = at;
  engine_.set_now(now_);
}

// One thing that happens; false: nothing does up to END.
bool Simulation::step(Instant end) {
  std::optional<Instant> next = engine_.next();
  const auto deadline = dead_ ? std::nullopt : supervisor_->next_deadline();
  if (deadline && (!next || *deadline < *next)) next = deadline;
  if (!planned_.empty() && (!next || planned_.begin()->first < *next)) {
    next = planned_.begin()->first;
  }
  if (!next || *next > end) return false;
  pass_to(*next);
  if (!planned_.empty() && planned_.begin()->first <= now_.mono) {
    const std::function<void()> what = std::move(planned_.begin()->second);
    planned_.erase(planned_.begin());
    what();
  } else if (auto event = engine_.take()) {
    give(EngineEvent(std::move(*event)));
  } else if (deadline && *deadline <= now_.mono) {
    give(Tick{});
  }
  return true;
}

void Simulation::give(const Input& input) {
  if (dead_) return;
  std::vector<Action> actions;
  supervisor_->handle(input, now_, actions);
  perform(actions);
  if (const auto* event = std::get_if<EngineEvent>(&input)) {
    if (const auto* exited = std::get_if<ContainerExited>(event)) {
      engine_.acknowledge(exited->container);
    }
  }
}

void Simulation::perform(const std::vector<Action>& actions) {
  for (const Action& action : actions) {
    if (give_order(engine_, action)) continue;
    if (const auto* emit = std::get_if<Emit>(&action)) options_.on_event(emit->event);
    if (const auto* record = std::get_if<Record>(&action)) options_.on_event(record->event);
    const auto* capture = std::get_if<Capture>(&action);
    if (capture == nullptr) continue;
    const Duration takes = options_.capture_time(*capture, now_);
    planned_.emplace(now_.mono + takes, [this, order = *capture] {
      give(Captured{order.container.id, order.incident, "evidence would be saved here"});
    });
  }
}

}  // namespace keepwell
