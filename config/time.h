// Time is an argument. Both clocks below have no now(): only the shell (runtime/loop) reads a
// clock, and hands what it read down as a Now. Decisions use `mono`, which never steps; people are
// shown `wall`. The two types do not convert into each other, so a stepped wall clock can change a
// log line and never a schedule.
#pragma once

#include <chrono>
#include <cstdint>

namespace keepwell {

using Duration = std::chrono::nanoseconds;

struct MonotonicClock {  // CLOCK_MONOTONIC: the same for all processes of one boot, stands still in
                         // suspend
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicClock, Duration>;
  static constexpr bool is_steady = true;
};
struct WallClock {  // CLOCK_REALTIME, nanoseconds since 1970 UTC
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<WallClock, Duration>;
  static constexpr bool is_steady = false;
};

using Instant = MonotonicClock::time_point;
using WallTime = WallClock::time_point;

struct Now {
  Instant mono{};
  WallTime wall{};
};

}  // namespace keepwell
