// One finished probe, and the verdict words. A probe that failed is data, not an Error.
#pragma once

#include <cstdint>
#include <string>

#include "config/time.h"

namespace keepwell {

enum class Health { none, starting, healthy, unhealthy };

// How a probe ended. `voided` is a fault of our own (no process could be made, we were stopped or
// suspended): it is never counted, neither as success nor as failure.
enum class ProbeOutcome { exited, timed_out, start_failed, voided };

// Why a failed probe failed: the closed set of keepwell_probe_failures_total{reason}.
enum class FailureReason {
  exit,
  timeout,
  refused,
  reset,
  dns,
  tls,
  http_status,
  body,
  grpc_status,
  spawn,
  canceled
};

inline constexpr std::size_t kOutputBytesMax = 4096;  // Docker's maxOutputLen
inline constexpr std::size_t kProbeLogMax = 5;        // Docker's maxLogEntries

struct ProbeResult {
  ProbeOutcome outcome = ProbeOutcome::exited;
  FailureReason reason = FailureReason::exit;  // meaningful where exit_code != 0
  int exit_code = 0;  // Docker's: -1 for timed out and could not be started
  Instant started{};  // the start counts for start_period, not the end
  Instant ended{};
  WallTime started_wall{};
  WallTime ended_wall{};
  std::string output;  // at most kOutputBytesMax bytes and "..." behind them if any were dropped
  std::uint64_t output_bytes = 0;  // read in all, dropped ones too
  Duration cpu{0};                 // user and system time of the probe's processes
  std::uint64_t max_rss_bytes = 0;
  Duration start_latency{0};  // from the order to the running program
  std::string pressure;       // of a timeout: what the host was stalled by, "cpu=0.83,io=0.02"
  bool held = false;          // by the pressure guard: shown, not counted

  bool passed() const { return outcome == ProbeOutcome::exited && exit_code == 0; }
};

}  // namespace keepwell
