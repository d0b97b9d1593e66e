// The end of keepwell: everything is stopped, whoever depends on something before it.
#include <set>
#include <string>
#include <vector>

#include "agent/supervisor_state.h"

namespace keepwell {

void Supervisor::begin_shutdown() {
  shutting_down_ = true;
  record_host("shutdown");
  for (const auto& container : containers_) {
    if (container->live()) {
      limit_stop(*container);
      continue;
    }
    if (container->status.state == ServiceState::backoff) {
      rest(*container, ServiceState::exited);
    }
    container->want_start = false;
    mark_for_next_run(*container);
  }
}

// A stop that somebody allowed to last for ever must not keep keepwell from ending.
void Supervisor::limit_stop(Container& container) {
  ContainerStatus& status = container.status;
  if (status.state != ServiceState::stopping && status.state != ServiceState::restarting) return;
  const Instant latest = now_.mono + container.spec().stop_grace_period;
  if (status.stop_deadline && *status.stop_deadline <= latest) return;
  status.stop_deadline = latest;
  container.stop_grace = container.spec().stop_grace_period;
  save(container);
  if (!container.order_open) timers_.set(key(container.serial, 0, Timer::stop), latest);
}

// `always` means it: Docker starts those again even after a stop by hand.
void Supervisor::mark_for_next_run(Container& container) {
  ContainerStatus& status = container.status;
  const bool again =
      !status.stopped_by_hand || container.spec().restart.policy == RestartPolicy::always;
  if (status.state != ServiceState::exited || status.start_at_next_run == again) return;
  status.start_at_next_run = again;
  save(container);
}

void Supervisor::advance_shutdown() {
  std::vector<Container*> candidates;
  std::vector<const Container*> leaving;  // that the file does not name any more
  bool live = false;
  bool stopping = false;
  for (const auto& each : containers_) {
    Container& container = *each;
    if (!container.live()) continue;
    live = true;
    if (container.surplus) leaving.push_back(&container);
    if (container.status.state == ServiceState::restarting) {
      container.status.state = ServiceState::stopping;
      container.status.stop_cause = StopCause::shutdown;
      save(container);
    }
    if (container.status.state == ServiceState::stopping) {
      stopping = true;
      if (hurry_ && !container.status.killed && !container.order_open) kill_now(container);
    } else {
      candidates.push_back(&container);
    }
  }
  if (!live && !all_stopped_told_) {
    all_stopped_told_ = true;
    actions_->push_back(AllStopped{});
  }
  std::vector<Container*> free;
  for (Container* container : candidates) {
    if (hurry_ || !blocked(container->service(), leaving)) free.push_back(container);
  }
  // A circle of dependencies has no order; it must not keep keepwell from ending.
  if (free.empty() && !stopping) free = candidates;
  for (Container* container : free) {
    stop(*container, ServiceState::stopping, StopCause::shutdown, 0,
         hurry_ ? std::optional(Duration{0}) : std::nullopt);
  }
}

// Whether something that depends on SERVICE, directly or not, still has a process. The graph does
// not know of what is LEAVING.
bool Supervisor::blocked(const std::string& service,
                         const std::vector<const Container*>& leaving) const {
  std::set<std::string> seen{service};
  std::vector<std::string> open{service};
  while (!open.empty()) {
    const std::string next = std::move(open.back());
    open.pop_back();
    for (const Container* container : leaving) {
      if (depends_on(container->spec(), next)) return true;
    }
    for (const std::string& dependent : graph_.dependents(next)) {
      if (!seen.insert(dependent).second) continue;
      open.push_back(dependent);
      const auto found = by_service_.find(dependent);
      if (found == by_service_.end()) continue;
      for (const Container* container : found->second) {
        if (container->live()) return true;
      }
    }
  }
  return false;
}

}  // namespace keepwell
