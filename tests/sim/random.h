// The one source of chance of a simulation: all of it from one 64-bit seed.
#pragma once

#include <cstdint>

#include "config/time.h"

namespace keepwell {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {  // splitmix64
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
    return mixed ^ (mixed >> 31U);
  }
  double share() { return static_cast<double>(next() >> 11U) * 0x1.0p-53; }  // 0 to 1
  bool chance(double probability) { return share() < probability; }
  int between(int least, int most) {
    return least + static_cast<int>(next() % static_cast<std::uint64_t>(most - least + 1));
  }
  Duration between(Duration least, Duration most) {
    return least + Duration(static_cast<Duration::rep>(
                       share() * static_cast<double>((most - least).count())));
  }

 private:
  std::uint64_t state_;
};

}  // namespace keepwell
