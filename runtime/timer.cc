#include "runtime/timer.h"

#include "config/check.h"
#include "runtime/loop.h"

namespace keepwell {

Timer::Timer(Loop& loop) : handle_(new uv_timer_t) {
  uv_timer_init(loop.uv(), handle_.get());  // cannot fail
  handle_->data = this;
}

void Timer::start_at(Instant deadline, std::function<void()> on_due) {
  on_due_ = std::move(on_due);
  uv_update_time(handle_->loop);
  // libuv's clock is CLOCK_MONOTONIC in milliseconds, rounded down.
  auto due_ms = std::chrono::ceil<std::chrono::milliseconds>(deadline.time_since_epoch()).count();
  auto now_ms = static_cast<std::int64_t>(uv_now(handle_->loop));
  std::uint64_t wait_ms = due_ms > now_ms ? static_cast<std::uint64_t>(due_ms - now_ms) : 0;
  int rc = uv_timer_start(
      handle_.get(),
      [](uv_timer_t* handle) noexcept {
        if (auto* self = static_cast<Timer*>(handle->data)) self->due();
      },
      wait_ms, 0);
  KW_CHECK(rc == 0);
}

void Timer::start_after(Duration delay, std::function<void()> on_due) {
  start_at(delay.count() > 0 ? Loop::now().mono + delay : Instant{}, std::move(on_due));
}

void Timer::stop() {
  on_due_ = nullptr;
  uv_timer_stop(handle_.get());
}

void Timer::due() {
  std::function<void()> on_due = std::move(on_due_);
  on_due_ = nullptr;
  if (on_due) on_due();  // may destroy this timer
}

}  // namespace keepwell
