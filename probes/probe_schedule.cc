#include "probes/probe_schedule.h"

#include <algorithm>
#include <cstdint>

namespace keepwell {
namespace {

// A wait of zero would make a probe that fails at once spin.
constexpr Duration kWaitMin = std::chrono::milliseconds(1);

}  // namespace

Duration next_wait(const CheckSpec& spec, Health status, Duration age) {
  if (age >= spec.start_period || status != Health::starting) {
    return std::max(kWaitMin, spec.interval);
  }
  return std::max(kWaitMin, std::min(spec.start_interval, spec.start_period - age));
}

Duration first_wait(const CheckSpec& spec, double spread, double phase) {
  if (spec.initial_delay > Duration::zero()) return spec.initial_delay;
  const Duration whole = next_wait(spec, Health::starting, Duration::zero());
  const double share = std::clamp(spread, 0.0, 1.0) * std::clamp(phase, 0.0, 1.0);
  const auto off = Duration(static_cast<Duration::rep>(static_cast<double>(whole.count()) * share));
  return std::max(kWaitMin, whole - off);
}

double phase_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a, then a finaliser: its high bits are poor
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  }
  hash ^= hash >> 33U;
  hash *= 0xff51afd7ed558ccdU;
  hash ^= hash >> 33U;
  return static_cast<double>(hash >> 11U) * 0x1.0p-53;
}

}  // namespace keepwell
