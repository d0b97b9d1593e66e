// The event loop, and the only place that reads a clock. One loop and one thread per process; every
// callback of runtime/ runs on it.
#pragma once

#include <memory>

#include "config/result.h"
#include "config/time.h"

struct uv_loop_s;

namespace keepwell {

class Loop {
 public:
  // A loop that is ready to run. SIGPIPE is ignored in this process from here on: a broken peer is
  // an error of the write that met it.
  static Result<std::unique_ptr<Loop>> open();

  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop();  // as close()

  // Runs callbacks until stop(), or until nothing is left that could call back.
  void run();

  // Waits for events once and runs their callbacks; returns whether anything is left to wait for.
  bool run_once();

  // The same without waiting.
  bool poll();

  // Makes run() return after the callbacks of this turn.
  void stop();

  // Ends the loop. REQUIRES: every wrapper on it was destroyed before; one that was not is named on
  // stderr and the process aborts. Calling it again does nothing.
  void close();

  // Both clocks, read now and not when the turn began.
  static Now now();

  // How long the machine has been suspended since it was started: by so much its other clocks went
  // on while that of Now::mono stood still.
  static Duration suspended();

  uv_loop_s* uv() { return loop_.get(); }

 private:
  explicit Loop(std::unique_ptr<uv_loop_s> loop);

  std::unique_ptr<uv_loop_s> loop_;
};

}  // namespace keepwell
