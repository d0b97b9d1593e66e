// Decides whether a container is healthy from the results of one check, by Docker's rules and the
// founding ones of keepwell. Pure: it is told when things happened and never asks. It does not know
// how probes run, when the next is due, or what anyone does about the verdict.
//
//   exit 0         the streak of failures ends; after success_threshold of them: healthy
//   exit 2         while starting neither success nor failure (max_starting bounds it); else a
//                  failure
//   anything else  a failure. While starting, one whose probe began inside start_period does not
//                  count; `retries` counted ones in a row: unhealthy
//   voided         a fault of our own: as if the probe had never been
//   held           a timeout of a stalled host: likewise
//
// One success ends the start period for good, since the verdict is then no longer `starting`.
#pragma once

#include <optional>

#include "config/spec.h"
#include "config/time.h"
#include "probes/probe_result.h"

namespace keepwell {

struct Transition {
  Health from = Health::none;
  Health to = Health::none;

  bool operator==(const Transition&) const = default;
};

// All that a tracker remembers, so that it can be stored and taken up again by the next agent.
struct HealthRecord {
  Health status = Health::starting;
  int failing_streak = 0;    // counted failures in a row; grows on while unhealthy
  int success_streak = 0;    // successes in a row
  int starting_results = 0;  // exit codes 2 in a row while starting

  bool operator==(const HealthRecord&) const = default;
};

// After so many exit codes 2 in a row the caller should tell somebody.
inline constexpr int kStartingResultsNotice = 10;

class HealthTracker {
 public:
  HealthTracker() = default;
  explicit HealthTracker(HealthRecord record) : record_(record) {}

  // Records a finished probe and returns the change of verdict that it caused, if any. SPEC may
  // differ from call to call (a reload): what was counted so far stays.
  // REQUIRES: results arrive in the order in which their probes started.
  [[nodiscard]] std::optional<Transition> apply(const CheckSpec& spec, Instant container_started,
                                                const ProbeResult& result);

  const HealthRecord& record() const { return record_; }
  Health status() const { return record_.status; }

  // Whether the last result made exactly kStartingResultsNotice exit codes 2 in a row.
  bool starting_notice() const { return record_.starting_results == kStartingResultsNotice; }

 private:
  HealthRecord record_;
};

}  // namespace keepwell
