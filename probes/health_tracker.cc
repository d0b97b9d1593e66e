#include "probes/health_tracker.h"

#include <algorithm>
#include <limits>

namespace keepwell {
namespace {

void count(int& streak) {
  if (streak < std::numeric_limits<int>::max()) ++streak;
}

// Exit code 2 says "still starting", but only an exec probe can say it, and only for so long.
bool says_starting(const CheckSpec& spec, Duration age, const ProbeResult& result) {
  if (result.outcome != ProbeOutcome::exited || result.reason != FailureReason::exit ||
      result.exit_code != 2 || spec.kind != ProbeKind::exec) {
    return false;
  }
  return !spec.max_starting || age < *spec.max_starting;
}

}  // namespace

std::optional<Transition> HealthTracker::apply(const CheckSpec& spec, Instant container_started,
                                               const ProbeResult& result) {
  if (result.outcome == ProbeOutcome::voided || result.held) return std::nullopt;
  const Health before = record_.status;
  const Duration age = result.started - container_started;

  if (result.passed()) {
    record_.failing_streak = 0;
    record_.starting_results = 0;
    count(record_.success_streak);
    if (record_.success_streak >= spec.success_threshold) record_.status = Health::healthy;
  } else if (before == Health::starting && says_starting(spec, age, result)) {
    count(record_.starting_results);
  } else {
    record_.success_streak = 0;
    record_.starting_results = 0;
    // The probe's start decides, not its end: Docker compares the same way.
    if (before == Health::starting && age < spec.start_period) return std::nullopt;
    count(record_.failing_streak);
    if (record_.failing_streak >= std::max(1, spec.retries)) record_.status = Health::unhealthy;
  }

  if (record_.status == before) return std::nullopt;
  return Transition{.from = before, .to = record_.status};
}

}  // namespace keepwell
