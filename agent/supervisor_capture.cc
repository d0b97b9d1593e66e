// Evidence before a restart: the end waits until it is saved, or until its time is over. Of one
// incident it is saved once, however many checks, actions and restarts ask for it.
#include <algorithm>
#include <utility>

#include "agent/supervisor_state.h"

namespace keepwell {
namespace {

// Whoever saves it keeps to the deadline itself; this is for the case that it does not.
constexpr Duration kCapturePatience = std::chrono::seconds(1);

// Evidence that is older says too little of a restart that had to wait (for a hold, or the budget).
constexpr Duration kCaptureFresh = std::chrono::seconds(10);

}  // namespace

// CONTAINER is to be ended for being unhealthy, and started again.
void Supervisor::end_with_evidence(Container& container, bool kill) {
  container.kill_then = kill;
  if (!container.spec().capture.on || has_evidence(container)) return end_unhealthy(container);
  order_evidence(container, container.status.last_restart_detail, true);
  container.capturing = true;
  save(container);
}

void Supervisor::end_unhealthy(Container& container) {
  if (!container.kill_then) {
    return stop(container, ServiceState::restarting, StopCause::unhealthy, 0, std::nullopt);
  }
  ContainerStatus& status = container.status;
  status.state = ServiceState::stopping;
  status.stop_cause = StopCause::none;
  status.by_kill = true;
  status.stop_deadline = now_.mono;
  container.stop_began = now_.mono;
  save(container);
  changed(container);
  kill_now(container);
}

// It ended by itself and will be started again: what is left of it. Nothing waits for this.
void Supervisor::capture_end(Container& container) {
  const ContainerStatus& status = container.status;
  if (!container.spec().capture.on || status.incident.empty()) return;
  if (container.captured == status.incident && container.capture_open) return;
  if (!has_evidence(container)) order_evidence(container, status.last_restart_detail, false);
}

// `capture` in a list of on_unhealthy. Returns what to wait for; 0: it is there already.
HookId Supervisor::begin_capture(Container& container, std::size_t index) {
  if (has_evidence(container)) return 0;
  const CheckRun& run = container.checks[index];
  order_evidence(container, container.status.checks[index].spec->name + " is unhealthy", true);
  const HookId id = ++last_hook_;
  hooks_[id] = {.serial = container.serial,
                .slot = run.slot,
                .run = container.status.run,
                .name = {},
                .capture = container.captured};
  return id;
}

// The evidence of its present incident is saved, and young enough.
bool Supervisor::has_evidence(const Container& container) const {
  return container.captured == container.status.incident && !container.capture_open &&
         now_.mono - container.captured_at < kCaptureFresh;
}

// Whoever asks while it is being saved waits for the same answer.
void Supervisor::order_evidence(Container& container, std::string cause, bool alive) {
  const std::string& incident = container.status.incident;
  if (container.captured == incident && container.capture_open) return;
  container.captured = incident;
  container.capture_open = true;
  actions_->push_back(Capture{.container = container.ref(),
                              .incident = incident,
                              .cause = std::move(cause),
                              .alive = alive});
  if (!alive) return;
  timers_.set(key(container.serial, 0, Timer::capture),
              now_.mono + container.spec().capture.timeout + kCapturePatience);
}

void Supervisor::on(const Captured& captured) {
  Container* container = by_id(captured.container);
  if (container == nullptr) return;
  Event& event = decide(*container, "captured");
  event.incident = captured.incident;  // which may be over by now
  event.attributes = {{"detail", captured.detail}};
  if (captured.incident == container->captured) evidence_over(*container);
}

// It is saved, or given up: what waited for it is done now.
void Supervisor::evidence_over(Container& container) {
  timers_.cancel(key(container.serial, 0, Timer::capture));
  if (!std::exchange(container.capture_open, false)) return;
  container.captured_at = now_.mono;
  std::vector<HookId> waiting;
  for (const auto& [id, hook] : hooks_) {
    if (hook.serial == container.serial && hook.capture == container.captured) {
      waiting.push_back(id);
    }
  }
  std::sort(waiting.begin(), waiting.end());
  for (const HookId id : waiting) {
    const HookRun hook = std::move(hooks_.at(id));
    hooks_.erase(id);
    action_over(container, id, hook);
  }
  if (!std::exchange(container.capturing, false)) return;
  const ServiceState state = container.status.state;
  if (state == ServiceState::running || state == ServiceState::paused) end_unhealthy(container);
}

}  // namespace keepwell
