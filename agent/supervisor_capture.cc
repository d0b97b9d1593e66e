// Evidence before a restart: the stop waits until it is saved, or until its time is over.
#include <utility>

#include "agent/supervisor_state.h"

namespace keepwell {
namespace {

// Whoever saves it keeps to the deadline itself; this is for the case that it does not.
constexpr Duration kCapturePatience = std::chrono::seconds(1);

}  // namespace

void Supervisor::stop_with_evidence(Container& container) {
  const CaptureSpec& spec = container.spec().capture;
  if (!spec.on) {
    return stop(container, ServiceState::restarting, StopCause::unhealthy, 0, std::nullopt);
  }
  container.capturing = true;
  save(container);
  actions_->push_back(Capture{.container = container.ref(),
                              .incident = container.status.incident,
                              .cause = container.status.last_restart_detail,
                              .alive = true});
  timers_.set(key(container.serial, 0, Timer::capture),
              now_.mono + spec.timeout + kCapturePatience);
}

// It ended by itself and will be started again: what is left of it. Nothing waits for this.
void Supervisor::capture_end(Container& container) {
  if (!container.spec().capture.on || container.status.incident.empty()) return;
  actions_->push_back(Capture{.container = container.ref(),
                              .incident = container.status.incident,
                              .cause = container.status.last_restart_detail,
                              .alive = false});
}

void Supervisor::on(const Captured& captured) {
  Container* container = by_id(captured.container);
  if (container == nullptr) return;
  Event& event = decide(*container, "captured");
  event.incident = captured.incident;  // which may be over by now
  event.attributes = {{"detail", captured.detail}};
  if (captured.incident == container->status.incident) go_on_without_evidence(*container);
}

void Supervisor::go_on_without_evidence(Container& container) {
  timers_.cancel(key(container.serial, 0, Timer::capture));
  if (!std::exchange(container.capturing, false)) return;
  const ServiceState state = container.status.state;
  if (state != ServiceState::running && state != ServiceState::paused) return;
  stop(container, ServiceState::restarting, StopCause::unhealthy, 0, std::nullopt);
}

}  // namespace keepwell
