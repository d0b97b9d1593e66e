#include "agent/supervisor.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "agent/supervisor_state.h"
#include "config/check.h"

namespace keepwell {
namespace {

// Events and what explains them stay in the order in which they came about.
bool is_told(const Action& action) {
  return std::holds_alternative<Emit>(action) || std::holds_alternative<Record>(action);
}

std::uint64_t next_random(std::uint64_t& state) {  // splitmix64
  state += 0x9e3779b97f4a7c15U;
  std::uint64_t mixed = state;
  mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
  mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
  return mixed ^ (mixed >> 31U);
}

}  // namespace

Supervisor::Supervisor(std::uint64_t seed) : random_state_(seed), incident_state_(~seed) {}
Supervisor::~Supervisor() = default;

void Supervisor::restore(std::vector<ContainerStatus> stored, const std::vector<ToldEvent>& told,
                         Now now, std::vector<Action>& actions) {
  KW_CHECK(containers_.empty() && !project_);
  ++inputs_;
  now_ = now;
  actions_ = &actions;
  for (ContainerStatus& status : stored) {
    if (status.id.empty() || by_id(status.id) != nullptr) continue;
    if (!status.spec) {
      auto unknown = std::make_shared<ServiceSpec>();
      unknown->name = status.name;
      status.spec = std::move(unknown);
    }
    containers_.push_back(std::make_unique<Container>());
    Container& container = *containers_.back();
    container.serial = ++last_serial_;
    container.status = std::move(status);
    by_id_[container.status.id] = &container;
    by_serial_[container.serial] = &container;
    by_service_[container.service()].push_back(&container);
    take_up(container);
  }
  take_up(told);
  settle();
  actions_ = nullptr;
}

void Supervisor::take_up(Container& container) {
  ContainerStatus& status = container.status;
  std::erase_if(status.checks, [](const CheckStatus& check) { return !check.spec; });
  for (CheckStatus& check : status.checks) {
    check.probe_running = false;
    CheckRun run;
    run.slot = ++last_slot_;
    run.tracker = HealthTracker({.status = check.status,
                                 .failing_streak = check.failing_streak,
                                 .success_streak = check.success_streak,
                                 .starting_results = check.starting_results});
    container.checks.push_back(std::move(run));
  }
  restore_guards(container);
  if (container.live()) {
    container.order_open = true;
    container.adopting = true;
    container.stop_began = now_.mono;
    actions_->push_back(AdoptContainer{{.start = {.container = container.ref(),
                                                  .name = status.name,
                                                  .project = status.project,
                                                  .spec = status.spec},
                                        .pid = status.pid,
                                        .pid_start_ticks = status.pid_start_ticks,
                                        .boot_id = {}}});
    return;
  }
  if (status.state == ServiceState::backoff) {
    const Instant at = status.next_start.value_or(now_.mono + status.backoff);
    timers_.set(key(container.serial, 0, Timer::start), std::max(at, now_.mono));
  }
}

void Supervisor::take_up(const std::vector<ToldEvent>& told) {
  for (const ToldEvent& event : told) {
    if (Container* container = by_id(event.id)) {
      if (event.ordinal > container->status.events_told) {
        container->told[event.ordinal] = event.action;
      } else if (event.action == "oom" || event.action == "start") {
        container->oom_told = event.action == "oom";
      }
    } else if (event.ordinal == 1 && event.action == "create") {
      unborn_[event.name] = event.id;
    } else if (const auto old = unborn_.find(event.name); old != unborn_.end()) {
      if (old->second == event.id) unborn_.erase(old);  // it lived, and is gone
    }
  }
}

void Supervisor::handle(const Input& input, Now now, std::vector<Action>& actions) {
  ++inputs_;
  const Instant before = now_.mono;
  now_ = {.mono = std::max(before, now.mono), .wall = now.wall};
  const auto first = static_cast<std::ptrdiff_t>(actions.size());
  actions_ = &actions;
  forgive_lateness(now_.mono - before);
  std::visit([this](const auto& what) { on(what); }, input);
  while (const auto due = timers_.pop(now_.mono)) fire(due->key, due->at);
  settle();
  actions_ = nullptr;
  std::stable_partition(actions.begin() + first, actions.end(),
                        [](const Action& action) { return is_told(action); });
}

void Supervisor::on(const Tick&) {}

void Supervisor::on(const EngineEvent& event) {
  std::visit([this](const auto& what) { on(what); }, event);
}

void Supervisor::on(const Suspended&) {
  for (const ProbeId id : in_flight()) void_flight(id);
}

void Supervisor::on(const Shutdown&) {
  if (shutting_down_) hurry_ = true;
  if (!shutting_down_) begin_shutdown();
}

// What follows from the input beyond the container that it named.
void Supervisor::settle() {
  restart_dependents();  // first: what is only now started needs no restart
  save_news();  // a new run: after who follows it is saved, before others are started for it
  dependencies_changed();
  if (shutting_down_) advance_shutdown();
  start_waiting_probes();  // last: in none that is stopped by now
  save_news();
}

void Supervisor::fire(DueQueue::Key timer_key, Instant due) {
  const auto serial = static_cast<std::uint32_t>(timer_key >> 32U);
  const auto slot = static_cast<std::uint32_t>(timer_key >> 4U) & 0x0fffffffU;
  const auto timer = static_cast<Timer>(timer_key & 0xfU);
  if (timer == Timer::budget) return grant_restarts();
  const auto found = by_serial_.find(serial);
  if (found == by_serial_.end()) return;
  Container& container = *found->second;
  if (timer == Timer::start) return start_due(container);
  if (timer == Timer::hold) return end_hold(container, "its time was over");
  if (timer == Timer::capture) return evidence_over(container);
  if (timer == Timer::stop) return stop_timer_fired(container);
  const std::size_t index = container.check_of_slot(slot);
  if (index == container.checks.size()) return;
  if (timer == Timer::probe) return probe_due(container, index, due);
  flight_timer_fired(container.checks[index].probe);
}

DueQueue::Key Supervisor::key(std::uint32_t serial, std::uint32_t slot, Timer timer) {
  return (static_cast<DueQueue::Key>(serial) << 32U) |
         (static_cast<DueQueue::Key>(slot & 0x0fffffffU) << 4U) | static_cast<DueQueue::Key>(timer);
}

const ContainerStatus* Supervisor::find(std::string_view id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second->status;
}

std::vector<const ContainerStatus*> Supervisor::containers() const {
  std::vector<const ContainerStatus*> all;
  all.reserve(containers_.size());
  for (const auto& container : containers_) all.push_back(&container->status);
  return all;
}

Supervisor::Container* Supervisor::by_id(std::string_view id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

// The container in the very run that REF names; null for anything stale.
Supervisor::Container* Supervisor::of(const ContainerRef& ref) {
  Container* container = by_id(ref.id);
  return container != nullptr && container->status.run == ref.run ? container : nullptr;
}

// What is written is the status as this input leaves it, so once is enough.
void Supervisor::save(Container& container, bool status) {
  if (status) container.news_unsaved = false;
  if (container.saved_in == inputs_) return;
  if (status) container.saved_in = inputs_;
  actions_->push_back(Save{.id = container.status.id, .status = status});
}

void Supervisor::save_news() {
  for (const std::uint32_t serial : std::exchange(news_, {})) {
    const auto found = by_serial_.find(serial);
    if (found != by_serial_.end() && found->second->news_unsaved) save(*found->second);
  }
}

void Supervisor::reply(std::uint64_t request, Status result) {
  if (request == 0) return;
  actions_->push_back(Reply{.request = request, .result = std::move(result)});
}

Event Supervisor::event_of(const Container& container, std::string action) const {
  Event event;
  event.at = now_.wall;
  event.action = std::move(action);
  event.id = container.status.id;
  event.name = container.status.name;
  event.project = container.status.project;
  event.replica = container.status.replica;
  event.spec = container.status.spec;
  event.incident =
      container.status.incident.empty() ? container.status.recovery : container.status.incident;
  return event;
}

// Valid until the next action; the caller adds attributes. What an earlier agent had told before it
// died, and had not saved, is not told again: the same facts lead to the same events in the same
// order. Where they do not, what it had told was another story, and this one is told.
Event& Supervisor::emit(Container& container, std::string action) {
  Event event = event_of(container, std::move(action));
  event.ordinal = ++container.status.events_told;
  if (!std::exchange(container.news_unsaved, true)) news_.push_back(container.serial);
  if (const auto same = container.told.find(event.ordinal); same != container.told.end()) {
    if (same->second == event.action) {
      container.told.erase(same);
      return told_already_ = std::move(event);
    }
    container.told.clear();
  }
  actions_->push_back(Emit{std::move(event)});
  return std::get<Emit>(actions_->back()).event;
}

std::uint64_t Supervisor::random() { return next_random(random_state_); }

double Supervisor::random_share() { return static_cast<double>(random() >> 11U) * 0x1.0p-53; }

std::string Supervisor::new_id() {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string id;
  for (int word = 0; word < 4; ++word) {
    std::uint64_t bits = random();
    for (int digit = 0; digit < 16; ++digit, bits >>= 4U) id += kDigits[bits & 0xfU];
  }
  return id;
}

// From numbers of their own: what goes wrong changes nothing about ids and jitter.
std::string Supervisor::new_incident_id() {
  char id[20];
  std::snprintf(id, sizeof id, "%012llx",
                static_cast<unsigned long long>(next_random(incident_state_) >> 16U));
  return id;
}

}  // namespace keepwell
