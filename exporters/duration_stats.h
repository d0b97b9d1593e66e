// Histograms without a registry: a DurationStats (container_status.h) lives in the state that it
// describes, and the bounds of its buckets are constants here, so that the side that counts and the
// side that shows cannot disagree. An untouched DurationStats holds no memory; 1,000 services with
// three results each would otherwise pay for buckets which nobody ever fills.
#pragma once

#include <array>
#include <span>

#include "config/time.h"
#include "exporters/container_status.h"

namespace keepwell {

// Upper bounds in seconds, rising; +Inf is implied. 0.1 and 1 are in those of lateness and duration
// because the founding promises ("p99 under 100 ms") and people's alerts are asked at them.
inline constexpr std::array<double, 14> kProbeDurationBounds{
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
inline constexpr std::array<double, 10> kProbeLatenessBounds{0.001, 0.005, 0.01, 0.025, 0.05,
                                                             0.1,   0.25,  0.5,  1,     10};
inline constexpr std::array<double, 9> kLoopLagBounds{0.0001, 0.001, 0.005, 0.01, 0.05,
                                                      0.1,    0.5,   1,     10};
inline constexpr std::array<double, 10> kStartToHealthyBounds{0.1, 0.5, 1,  2.5, 5,
                                                              10,  30,  60, 300, 1800};
inline constexpr std::array<double, 9> kStopDurationBounds{0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 120};
inline constexpr std::array<double, 9> kApiDurationBounds{0.0005, 0.001, 0.005, 0.01, 0.05,
                                                          0.1,    0.5,   1,     10};

// Index into CheckStatus::duration.
enum class DurationResult { pass = 0, fail = 1, timeout = 2 };

// Counts one observation; a negative one counts as zero. The first call makes the buckets.
// REQUIRES: the same bounds for every call on the same STATS.
void observe(DurationStats& stats, Duration value, std::span<const double> bounds);

// Counts a finished probe in its check: probes_total, failures_total by reason, duration by
// result, output, cpu, rss, start latency, last_success. A voided one only in voided_total.
void observe_probe(CheckStatus& check, const ProbeResult& result);

// Adds FROM to INTO, bucket by bucket. REQUIRES: both were made with the same bounds.
void add(DurationStats& into, const DurationStats& from);

}  // namespace keepwell
