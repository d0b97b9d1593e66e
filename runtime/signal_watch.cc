#include "runtime/signal_watch.h"

#include <string>

#include "runtime/loop.h"

namespace keepwell {

Status SignalWatch::start(int signal_number, std::function<void()> on_signal) {
  handle_.reset();
  auto handle = std::make_unique<uv_signal_t>();
  int rc = uv_signal_init(loop_->uv(), handle.get());
  if (rc == 0) {
    handle_.reset(handle.release());
    handle_->data = this;
    on_signal_ = std::move(on_signal);
    rc = uv_signal_start(
        handle_.get(),
        [](uv_signal_t* closed_or_ours, int) noexcept {
          if (auto* self = static_cast<SignalWatch*>(closed_or_ours->data)) {
            call_guarded(closed_or_ours, self->on_signal_);
          }
        },
        signal_number);
  }
  if (rc != 0) return fail(Error::os(-rc, "cannot watch signal " + std::to_string(signal_number)));
  return {};
}

}  // namespace keepwell
