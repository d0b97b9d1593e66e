#include "agent/driver.h"

#include <algorithm>
#include <utility>

#include "agent/event_bus.h"
#include "agent/journal.h"
#include "agent/log.h"
#include "agent/state_store.h"
#include "agent/webhook_sender.h"
#include "exporters/duration_stats.h"
#include "runtime/loop.h"

namespace keepwell {

namespace {

constexpr Duration kSaveAgain = std::chrono::seconds(5);
constexpr Duration kFaultsToldEvery = std::chrono::minutes(1);  // they come with each probe

// Both clocks are read one after the other, so that they always differ a little.
constexpr Duration kSuspendNoticed = std::chrono::milliseconds(100);

// What the log says of an event; empty: nothing (probes, and what an API call already says).
std::string words_for(const Event& event) {
  if (event.probe) return {};
  std::string text = event.action;
  for (const auto& [key, value] : event.attributes) {
    if (key == "execID" || key == "execDuration") continue;
    text += " " + key + "=" + value;
  }
  return text;
}

bool is_bad_news(const Event& event) {
  return event.action == "health_status: unhealthy" || event.action == "oom";
}

// Decisions that people look for in a log; the others are for the journal.
bool is_telling(const Event& event) {
  return event.kind == EventKind::decision &&
         (event.action == "restart" || event.action == "suppressed" || event.action == "stop");
}

// The container whose start, adoption or end an event tells; null for any other.
const ContainerRef* answered_by(const Input& input) {
  const auto* event = std::get_if<EngineEvent>(&input);
  if (event == nullptr) return nullptr;
  if (const auto* started = std::get_if<ContainerStarted>(event)) return &started->container;
  if (const auto* failed = std::get_if<ContainerStartFailed>(event)) return &failed->container;
  if (const auto* exited = std::get_if<ContainerExited>(event)) return &exited->container;
  return nullptr;
}

}  // namespace

Driver::Driver(Parts parts, std::uint64_t seed, std::function<void()> on_all_stopped)
    : parts_(std::move(parts)),
      supervisor_(seed),
      timer_(*parts_.loop),
      replies_(*parts_.loop),
      save_again_(*parts_.loop),
      saves_(*parts_.loop),
      on_all_stopped_(std::move(on_all_stopped)),
      suspended_(Loop::suspended()) {}

void Driver::restore() {
  std::vector<std::string> problems;
  std::vector<ContainerStatus> stored = parts_.store->restore(problems);
  for (const std::string& problem : problems) log_warning(problem);
  std::vector<Action> actions;
  now_ = Loop::now();
  std::vector<ToldEvent> told;
  for (const Event& event : parts_.events->history()) {
    told.push_back({event.id, event.name, event.ordinal, event.action});
  }
  // Of one whose record is behind the times nobody knows what was told of what it does not say:
  // better twice than not at all.
  for (ContainerStatus& status : stored) {
    if (!parts_.store->is_behind(status.id)) continue;
    for (const ToldEvent& event : told) {
      if (event.id == status.id) status.events_told = std::max(status.events_told, event.ordinal);
    }
  }
  supervisor_.restore(std::move(stored), told, now_, actions);
  draining_ = true;
  perform(actions);
  draining_ = false;
  drain();
}

void Driver::submit(Input input) {
  inputs_.push_back(std::move(input));
  drain();
}

void Driver::submit(Command command, std::function<void(Status)> on_done) {
  command.request = ++last_request_;
  waiting_[command.request] = std::move(on_done);
  submit(Input(std::move(command)));
}

void Driver::drain() {
  if (draining_) return;
  draining_ = true;
  while (!inputs_.empty()) {
    Input input = std::move(inputs_.front());
    inputs_.pop_front();
    if (const ContainerRef* ref = answered_by(input)) {
      auto adoption = adoptions_.find(ref->id);
      if (adoption != adoptions_.end() && adoption->second == ref->run) adoptions_.erase(adoption);
    }
    supervisor_.tell_probes(parts_.events->has_listeners());
    // A suspend is told before anything that comes after it.
    const Duration suspended = Loop::suspended();
    if (suspended - std::exchange(suspended_, suspended) > kSuspendNoticed) {
      log_info("the machine was suspended; what was being probed does not count");
      hand_over(Suspended{});
    }
    if (const auto* event = std::get_if<EngineEvent>(&input)) {
      if (const auto* ended = std::get_if<HookEnded>(event)) count_hook(*ended);
      if (const auto* ended = std::get_if<ProbeEnded>(event)) tell_fault(*ended);
    }
    hand_over(input);
  }
  draining_ = false;
  arm();
}

void Driver::hand_over(const Input& input) {
  // Time must not go back for the Supervisor, and both clocks are read at one place.
  now_ = Loop::now();
  std::vector<Action> actions;
  supervisor_.handle(input, now_, actions);
  perform(actions);
}

void Driver::count_hook(const HookEnded& ended) {
  const auto found = running_hooks_.find(ended.hook);
  if (found == running_hooks_.end()) return;
  if (!ended.ok()) ++parts_.stats->hooks[found->second].failures_total;
  running_hooks_.erase(found);
}

// A check whose probes are all void says nothing about its service; somebody must hear why.
void Driver::tell_fault(const ProbeEnded& ended) {
  if (ended.how != ProbeEnded::How::our_fault || ended.error.empty()) return;
  if (fault_told_ && ended.at - *fault_told_ < kFaultsToldEvery) return;
  fault_told_ = ended.at;
  log_warning("a probe does not count: " + ended.error);
}

void Driver::perform(std::vector<Action>& actions) {
  for (Action& action : actions) {
    std::visit([this](auto& one) { act(one); }, action);
  }
}

void Driver::arm() {
  std::optional<Instant> deadline = supervisor_.next_deadline();
  if (deadline) {
    timer_.start_at(*deadline, [this, at = *deadline] { due(at); });
  } else {
    timer_.stop();
  }
}

void Driver::due(Instant deadline) {
  Duration lag = std::max(Loop::now().mono - deadline, Duration(0));
  observe(parts_.stats->loop_lag, lag, kLoopLagBounds);
  submit(Tick{});
}

void Driver::act(StartContainer& action) { parts_.engine->start(action.order); }

void Driver::act(AdoptContainer& action) {
  const ContainerRef& ref = action.order.start.container;
  adoptions_[ref.id] = ref.run;
  if (action.order.boot_id.empty()) action.order.boot_id = parts_.store->boot_id(ref.id);
  parts_.engine->adopt(action.order);
}

void Driver::act(SignalContainer& action) {
  Status sent = parts_.engine->signal(action.container, action.signal);
  if (sent) return;
  log_warning(sent.error().text);
  inputs_.push_back(SignalFailed{action.container, action.signal});
}

void Driver::act(KillContainer& action) { parts_.engine->kill(action.container); }
void Driver::act(PauseContainer& action) { parts_.engine->pause(action.container); }
void Driver::act(ResumeContainer& action) { parts_.engine->resume(action.container); }
void Driver::act(RemoveContainer& action) { parts_.engine->remove(action.id); }
void Driver::act(StartProbe& action) { parts_.engine->start_probe(action.order); }
void Driver::act(KillProbe& action) { parts_.engine->kill_probe(action.probe); }

void Driver::act(RunHook& action) {
  running_hooks_[action.order.id] = action.order.name;
  ++parts_.stats->hooks[action.order.name].runs_total;
  parts_.engine->run_hook(action.order);
}

void Driver::act(SendWebhook& action) { parts_.webhooks->send(*action.action, action.body); }

void Driver::act(Emit& action) {
  Event event = parts_.events->publish(std::move(action.event));
  ++parts_.stats->events_total;
  if (!event.probe) write_down(event);
  std::string words = words_for(event);
  if (!words.empty()) log_container(event.name, words, is_bad_news(event), event.incident);
}

void Driver::act(Capture& action) {
  const ContainerStatus* status = supervisor_.find(action.container.id);
  if (status != nullptr && parts_.capture) parts_.capture(action, *status);
}

void Driver::act(Record& action) {
  Event& event = action.event;
  if (event.kind == EventKind::fact && event.action == "configure") {
    event.attributes.emplace_back("config", parts_.journal->keep_config(*supervisor_.project()));
  }
  write_down(event);
  if (!is_telling(event)) return;
  log_container(event.name, "decided: " + words_for(event), false, event.incident);
}

// A journal that cannot be written is counted; everything else goes on.
void Driver::write_down(const Event& event) {
  Status kept = parts_.journal->append(event);
  if (!kept) log_debug(kept.error().text);
  parts_.stats->journal.write_failures_total = parts_.journal->write_failures();
}

void Driver::act(Reply& action) {
  auto found = waiting_.find(action.request);
  if (found == waiting_.end()) return;
  due_replies_.emplace_back(std::move(found->second), std::move(action.result));
  waiting_.erase(found);
  // Put off to the next turn: a completion is never called from inside the call that asked.
  if (replies_.armed()) return;
  replies_.start_after(Duration(0), [this] {
    auto replies = std::exchange(due_replies_, {});
    for (auto& [on_done, result] : replies) on_done(std::move(result));
  });
}

void Driver::act(Save& action) {
  const ContainerStatus* status = supervisor_.find(action.id);
  if (status == nullptr) return;
  if (action.status || !pacer_.put_off(action.id, status->checks.size(), now_.mono)) {
    return save(action.id, action.status);
  }
  if (!saves_.armed()) saves_.start_at(*pacer_.next(), [this] { save_put_off(); });
}

void Driver::save(const std::string& id, bool status_changed) {
  const ContainerStatus* status = supervisor_.find(id);
  if (status == nullptr) return pacer_.forget(id);
  if (Status saved = parts_.store->save(*status, status_changed, now_.mono); !saved) {
    log_error(saved.error().text + "; going on without, tried again every " +
              std::to_string(kSaveAgain / std::chrono::seconds(1)) + " s");
  }
  pacer_.saved(id, now_.mono);
  if (!parts_.store->unsaved().empty()) arm_save_again();
}

void Driver::save_put_off() {
  now_ = Loop::now();
  for (const std::string& id : pacer_.due(now_.mono)) save(id, false);
  if (const std::optional<Instant> next = pacer_.next()) {
    saves_.start_at(*next, [this] { save_put_off(); });
  }
}

void Driver::arm_save_again() {
  if (!save_again_.armed()) save_again_.start_after(kSaveAgain, [this] { save_again(); });
}

// What is on disk must not stay behind only because nothing happens to a container any more.
void Driver::save_again() {
  (void)parts_.store->make_dirs();  // somebody may have removed them
  const std::set<std::string> unsaved = parts_.store->unsaved();
  for (const std::string& id : unsaved) {
    const ContainerStatus* status = supervisor_.find(id);
    if (status != nullptr) (void)parts_.store->save(*status, true, Loop::now().mono);
  }
  if (parts_.store->unsaved().empty()) {
    log_info("what could not be stored is stored now");
  } else {
    arm_save_again();
  }
}

void Driver::act(Forget& action) {
  pacer_.forget(action.id);
  parts_.store->forget(action.id);
}

void Driver::act(AllStopped&) {
  save_all();
  on_all_stopped_();
}

void Driver::save_all() {
  if (Status saved = parts_.store->save_all(supervisor_.containers()); !saved) {
    log_error(saved.error().text);
  }
}

}  // namespace keepwell
