// The keeper's clock, in the unit of its deadlines.
#pragma once

#include <cstdint>
#include <ctime>

namespace keepwell {

inline std::uint64_t monotonic_ns() {
  timespec ts{};
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<std::uint64_t>(ts.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(ts.tv_nsec);
}

inline std::uint64_t now_ms() { return monotonic_ns() / 1'000'000; }

}  // namespace keepwell
