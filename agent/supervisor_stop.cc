// How containers are stopped, killed and paused: orders, grace periods and patience.
#include <utility>

#include "agent/supervisor_state.h"
#include "config/check.h"
#include "config/signals.h"

namespace keepwell {
namespace {

constexpr int kSigkill = 9;
constexpr int kSigterm = 15;

int own_stop_signal(const ServiceSpec& spec) {
  if (spec.stop_signal.empty()) return kSigterm;
  return parse_signal(spec.stop_signal).value_or(kSigterm);
}

}  // namespace

// ---- stopping

// Decides that a live container is to end. GRACE: none is the service's own, negative is for ever.
void Supervisor::stop(Container& container, ServiceState state, StopCause cause, int signal,
                      std::optional<Duration> grace) {
  KW_CHECK(container.live());
  ContainerStatus& status = container.status;
  container.capturing = false;
  container.budget_asked.reset();
  timers_.cancel(key(container.serial, 0, Timer::capture));
  status.state = state;
  status.stop_cause = cause;
  status.by_kill = false;
  status.stop_told = false;
  const Duration wait = grace.value_or(container.spec().stop_grace_period);
  container.stop_grace = wait < Duration::zero() ? std::nullopt : std::optional(wait);
  container.stop_signal = signal > 0 ? signal : own_stop_signal(container.spec());
  container.stop_began = now_.mono;
  status.stop_deadline.reset();
  if (container.stop_grace) status.stop_deadline = now_.mono + *container.stop_grace;
  save(container);
  changed(container);
  if (!container.order_open) send_stop(container);
}

// The signal of a stop that was decided, now that there is a process to send it to.
void Supervisor::send_stop(Container& container) {
  ContainerStatus& status = container.status;
  end_probing(container);
  const bool continued = container.stop_signal == 0;  // what an earlier agent began
  if (continued) {
    container.stop_signal = own_stop_signal(container.spec());
  } else if (container.stop_grace) {
    status.stop_deadline = now_.mono + *container.stop_grace;
  }
  if (!status.by_kill) {
    if (!std::exchange(status.stop_told, true)) {
      emit(container, "kill").attributes = {{"signal", std::to_string(container.stop_signal)}};
    }
    actions_->push_back(SignalContainer{container.ref(), container.stop_signal});
  }
  // The signal of a frozen one waits until it is thawed.
  if (container.frozen || container.pausing) {
    actions_->push_back(ResumeContainer{container.ref()});
  }
  if (!status.stop_deadline) return;
  if (*status.stop_deadline <= now_.mono) return kill_now(container);
  timers_.set(key(container.serial, 0, Timer::stop), *status.stop_deadline);
}

// SIGKILL to all of it; asked again until the engine says that it has ended.
void Supervisor::kill_now(Container& container) {
  end_probing(container);
  if (!std::exchange(container.status.killed, true)) {
    if (!container.status.by_kill) container.status.stop_kills_total++;
    emit(container, "kill").attributes = {{"signal", std::to_string(kSigkill)}};
    save(container);
  }
  actions_->push_back(KillContainer{container.ref()});
  timers_.set(key(container.serial, 0, Timer::stop), now_.mono + kKillPatience);
}

void Supervisor::stop_timer_fired(Container& container) {
  if (!container.live() || container.order_open) return;
  if (container.status.killed) {
    answer(container, Waiter::kEnded,
           fail(Errc::timed_out, "cannot stop container " + container.status.name +
                                     ": tried to kill container, but did not receive an exit "
                                     "event"));
  }
  kill_now(container);
}

// ---- pausing

void Supervisor::on(const ContainerPaused& event) {
  Container* container = of(event.container);
  if (container == nullptr || !container->pausing) return;
  container->pausing = false;
  if (!event.error.empty()) {
    answer(*container, Waiter::kPaused,
           fail(Errc::os, "cannot pause container " + container->status.name + ": " + event.error));
    if (container->status.state == ServiceState::running) unpause_probing(*container);
    return;
  }
  container->frozen = true;
  if (container->status.state == ServiceState::running) {
    container->status.state = ServiceState::paused;
    emit(*container, "pause");
    save(*container);
    changed(*container);
  }
  answer(*container, Waiter::kPaused, {});
}

void Supervisor::on(const ContainerResumed& event) {
  Container* container = of(event.container);
  if (container == nullptr) return;
  container->resuming = false;
  if (!event.error.empty()) {
    answer(
        *container, Waiter::kResumed,
        fail(Errc::os, "cannot unpause container " + container->status.name + ": " + event.error));
    return;
  }
  container->frozen = false;
  if (container->status.state == ServiceState::paused) {
    container->status.state = ServiceState::running;
    emit(*container, "unpause");
    save(*container);
    unpause_probing(*container);
    changed(*container);
  }
  answer(*container, Waiter::kResumed, {});
}

void Supervisor::on(const ContainerOom& event) {
  Container* container = of(event.container);
  if (container == nullptr || !container->live() || container->oom_told) return;
  container->oom_told = true;
  emit(*container, "oom");
}

void Supervisor::on(const SignalFailed& failed) {
  Container* container = of(failed.container);
  if (container == nullptr || container->order_open || failed.signal != container->stop_signal) {
    return;
  }
  ContainerStatus& status = container->status;
  if (status.state != ServiceState::stopping && status.state != ServiceState::restarting) return;
  const Instant soon = now_.mono + kUndeliveredPatience;
  if (status.stop_deadline && *status.stop_deadline <= soon) return;
  status.stop_deadline = soon;
  save(*container);
  timers_.set(key(container->serial, 0, Timer::stop), soon);
}

}  // namespace keepwell
