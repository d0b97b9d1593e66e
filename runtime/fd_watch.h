// Readiness of one descriptor (a pidfd, a pipe, a socket). Level-triggered: the callback comes
// again in every turn until what it reports was consumed or the watch is stopped. It does not own
// the descriptor and never reads from it.
#pragma once

#include <functional>

#include "config/result.h"
#include "runtime/uv_handle.h"

namespace keepwell {

class Loop;

struct Ready {
  bool readable = false;
  bool writable = false;
  bool hangup = false;    // the peer is gone (UV_DISCONNECT)
  bool priority = false;  // EPOLLPRI: a kernfs file such as memory.events changed
  bool error = false;     // the descriptor is in an error state; the watch has stopped itself
};

// What to wait for.
struct Interest {
  bool readable = false;
  bool writable = false;
  bool hangup = false;
  bool priority = false;
};

class FdWatch {
 public:
  // Watches nothing yet. REQUIRES: LOOP outlives the watch.
  explicit FdWatch(Loop& loop);
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;
  ~FdWatch() = default;  // stops

  // Watches FD, replacing what was watched before; the descriptor becomes non-blocking. Fails for
  // what cannot be polled (a regular file) or is watched on this loop already; then nothing is
  // watched. REQUIRES: FD stays open until stop(), another start() or destruction.
  Status start(int fd, Interest interest, std::function<void(Ready)> on_ready);

  // Waits for INTEREST from now on, with the same descriptor and callback. REQUIRES: started.
  void change(Interest interest);

  void stop();

  bool watching() const { return handle_ != nullptr; }

 private:
  Loop* loop_;
  UvPtr<uv_poll_t> handle_;
  std::function<void(Ready)> on_ready_;
  int watched_ = 0;  // libuv's events; while the handle is active
};

}  // namespace keepwell
