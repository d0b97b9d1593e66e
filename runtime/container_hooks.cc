// The part of Container that runs its hooks. post_start: once its program runs; one that fails
// stops it. pre_stop: before the signal that stops it.
#include "config/signals.h"
#include "runtime/container.h"

namespace keepwell {

int Container::stop_signal() const {
  const std::string& name = order_.spec->stop_signal;
  return name.empty() ? SIGTERM : parse_signal(name).value_or(SIGTERM);
}

void Container::run_post_start() {
  hooks_ = std::make_unique<LifecycleHooks>(*context_, *this, order_.spec->post_start);
  hooks_->begin([this](Status done) {
    // It is in the middle of calling us.
    context_->later([old = std::shared_ptr<LifecycleHooks>(std::move(hooks_))] {});
    if (done || phase_ != Phase::running) return;
    context_->warn(done.error().text + "; it is stopped");
    (void)send_signal(stop_signal());
    hook_timer_.start_after(order_.spec->stop_grace_period, [this] { kill(); });
  });
}

Status Container::signal(int number) {
  bool first = phase_ == Phase::running && !stopping_ && !frozen_ && number == stop_signal() &&
               !order_.spec->pre_stop.empty() && run_.base;
  if (!first) return send_signal(number);
  stopping_ = true;
  hooks_ = std::make_unique<LifecycleHooks>(*context_, *this, order_.spec->pre_stop);
  hooks_->begin([this, number](Status done) {
    context_->later([old = std::shared_ptr<LifecycleHooks>(std::move(hooks_))] {});
    if (phase_ != Phase::running) return;
    if (!done) context_->warn(done.error().text + "; it is stopped nevertheless");
    if (Status sent = send_signal(number); !sent) context_->warn(sent.error().text);
  });
  return {};
}

}  // namespace keepwell
