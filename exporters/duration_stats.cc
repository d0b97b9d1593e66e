#include "exporters/duration_stats.h"

#include "config/check.h"

namespace keepwell {

void observe(DurationStats& stats, Duration value, std::span<const double> bounds) {
  if (stats.buckets.empty()) stats.buckets.resize(bounds.size());
  KW_CHECK(stats.buckets.size() == bounds.size());
  const double seconds = value.count() > 0 ? std::chrono::duration<double>(value).count() : 0.0;
  // From the top down: the buckets are cumulative, and most observations are far from it.
  for (std::size_t i = bounds.size(); i > 0 && seconds <= bounds[i - 1]; --i) {
    ++stats.buckets[i - 1];
  }
  ++stats.count;
  stats.sum_seconds += seconds;
}

void observe_probe(CheckStatus& check, const ProbeResult& result) {
  if (result.outcome == ProbeOutcome::voided) {
    ++check.voided_total;
    return;
  }
  ++check.probes_total;
  auto kind = DurationResult::pass;
  if (!result.passed()) {
    ++check.failures_total[static_cast<std::size_t>(result.reason)];
    kind =
        result.outcome == ProbeOutcome::timed_out ? DurationResult::timeout : DurationResult::fail;
  }
  observe(check.duration[static_cast<std::size_t>(kind)], result.ended - result.started,
          kProbeDurationBounds);
  if (result.passed()) check.last_success = result.ended_wall;
  if (result.output_bytes > kOutputBytesMax) ++check.output_truncated_total;
  check.output_bytes_total += result.output_bytes;
  check.cpu_total += result.cpu;
  check.max_rss_bytes = result.max_rss_bytes;
  check.last_start_latency = result.start_latency;
}

void add(DurationStats& into, const DurationStats& from) {
  if (from.count == 0) return;
  if (into.buckets.empty()) into.buckets.resize(from.buckets.size());
  KW_CHECK(into.buckets.size() == from.buckets.size());
  for (std::size_t i = 0; i < from.buckets.size(); ++i) into.buckets[i] += from.buckets[i];
  into.count += from.count;
  into.sum_seconds += from.sum_seconds;
}

}  // namespace keepwell
