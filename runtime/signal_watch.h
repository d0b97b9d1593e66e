// One signal, delivered as a callback on the loop. The agent under a keeper does not need it (the
// keeper passes signals on as messages); the command line and tests do.
#pragma once

#include <functional>

#include "config/result.h"
#include "runtime/uv_handle.h"

namespace keepwell {

class Loop;

class SignalWatch {
 public:
  // Watches nothing yet. REQUIRES: LOOP outlives the watch.
  explicit SignalWatch(Loop& loop) : loop_(&loop) {}
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  ~SignalWatch() = default;  // the signal gets its default action back

  // Calls ON_SIGNAL from the loop for every arrival of SIGNAL_NUMBER (several may be merged).
  Status start(int signal_number, std::function<void()> on_signal);

 private:
  Loop* loop_;
  UvPtr<uv_signal_t> handle_;
  std::function<void()> on_signal_;
};

}  // namespace keepwell
