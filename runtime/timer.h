// One deadline on the loop. It never fires early: libuv counts whole milliseconds, so deadlines are
// rounded up. A zero delay is how something is put off to the next turn (completions are never
// called from inside the call that started the work).
#pragma once

#include <functional>

#include "config/time.h"
#include "runtime/uv_handle.h"

namespace keepwell {

class Loop;

class Timer {
 public:
  // Not armed. REQUIRES: LOOP outlives the timer.
  explicit Timer(Loop& loop);
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() = default;  // disarms

  // Calls ON_DUE once, from the loop, at DEADLINE or as soon after as possible (a deadline in the
  // past: on the next turn). Replaces what was armed before.
  void start_at(Instant deadline, std::function<void()> on_due);
  void start_after(Duration delay, std::function<void()> on_due);

  // Disarms; nothing happens if it was not armed.
  void stop();

  bool armed() const { return on_due_ != nullptr; }

 private:
  void due();

  UvPtr<uv_timer_t> handle_;
  std::function<void()> on_due_;
};

}  // namespace keepwell
