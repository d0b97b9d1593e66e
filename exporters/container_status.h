// All that is known of one container, as the Supervisor keeps it and the exporters show it. The
// Supervisor is its only writer; API, metrics and state files read it between two inputs.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/spec.h"
#include "config/time.h"
#include "probes/probe_result.h"

namespace keepwell {

enum class ServiceState {
  created,   // never started, or waiting for its dependencies
  starting,  // ordered from the engine
  running,
  paused,
  stopping,    // stop signal sent, grace period runs
  restarting,  // stopping, to be started again
  backoff,     // ended, waits to be started again
  exited,      // ended, stays so
  failed       // gave up: start it by hand
};

// What a container in `stopping` or `restarting` is being ended for, and so what follows its end:
//   none        killed by on_unhealthy: kill; the restart policy decides as for any exit
//   by_hand     stopping: stays exited; restarting: is started at once
//   unhealthy   stopping: stays exited; restarting: backoff, then a start
//   dependency  restarting: is started when its dependencies are ready
//   config      the configuration no longer holds it so: removed, or made anew
//   shutdown    stays exited until the next `keepwell run`
enum class StopCause { none, by_hand, unhealthy, dependency, config, shutdown };

enum class RestartReason { exit, unhealthy, dependency, oom, manual, config, watchdog };
inline constexpr std::size_t kRestartReasons = 7;
enum class SuppressReason { pressure, budget, hold, observe, flap, dependency };
inline constexpr std::size_t kSuppressReasons = 6;
inline constexpr std::size_t kFailureReasons = 11;

// Cumulative, le-style; the bounds are those of the exporter that shows them.
struct DurationStats {
  std::vector<std::uint64_t> buckets;
  std::uint64_t count = 0;
  double sum_seconds = 0;
};

// A person has asked that nothing be done about a service by itself.
struct HoldStatus {
  std::string reason;
  WallTime since{};
  WallTime until{};
};

struct CheckStatus {
  std::shared_ptr<const CheckSpec> spec;
  Health status = Health::none;
  int failing_streak = 0;
  int success_streak = 0;
  std::deque<ProbeResult> log;  // oldest first, at most kProbeLogMax
  bool probe_running = false;
  bool paused_by_hand = false;
  bool actions_done = false;  // those of its being unhealthy now
  std::optional<Instant> next_probe;
  std::optional<WallTime> last_success;
  std::optional<double> flap_ratio;  // 0 to 1; none: flaps are not looked for
  std::string recent;                // the results that it is of, oldest first: . passed, x failed
  bool flapping = false;
  std::optional<Instant> held_since;  // the first timeout in a row that the pressure guard held

  // Counters, never reset while the data directory lives.
  std::uint64_t probes_total = 0;
  std::array<std::uint64_t, kFailureReasons> failures_total{};
  std::uint64_t transitions_to_healthy_total = 0;
  std::uint64_t transitions_to_unhealthy_total = 0;
  std::uint64_t output_truncated_total = 0;
  std::uint64_t output_bytes_total = 0;
  std::uint64_t voided_total = 0;
  Duration cpu_total{0};
  std::uint64_t max_rss_bytes = 0;  // of the last probe
  std::uint64_t orphans_total = 0;  // left by probes and never reaped, see ProbeEnded::orphans
  Duration last_start_latency{0};
  int starting_results = 0;               // exit codes 2 in a row while starting
  std::uint64_t held_total = 0;           // timeouts that the pressure guard held
  std::uint64_t starting_long_total = 0;  // times that 10 of them came in a row
  std::array<DurationStats, 3> duration;  // pass, fail, timeout
};

struct ContainerStatus {
  std::string id;
  std::string name;  // without the leading slash
  std::string project;
  int replica = 1;  // 1 to spec->scale
  std::shared_ptr<const ServiceSpec> spec;

  ServiceState state = ServiceState::created;
  std::uint64_t run = 0;  // counts starts
  int pid = 0;            // 0: not running
  std::uint64_t pid_start_ticks = 0;
  int exit_code = 0;
  bool exit_known = true;
  bool oom_killed = false;
  std::string error;  // why it could not be started, or "exit status unknown: ..."
  WallTime created{};
  std::optional<WallTime> started;
  std::optional<WallTime> finished;
  Instant started_mono{};

  Health health = Health::none;  // the roll-up of the checks
  std::vector<CheckStatus> checks;

  int restart_count = 0;  // Docker's RestartCount: by policy since the last start by hand
  bool stopped_by_hand = false;
  Duration backoff{0};                // the delay of the current or next wait
  std::optional<Instant> next_start;  // in backoff
  std::optional<WallTime> next_start_wall;

  // What the next agent needs to go on; to be stored like the rest, with the status unless said.
  StopCause stop_cause = StopCause::none;  // in stopping and restarting
  std::optional<Instant> stop_deadline;    // when it is killed; none: never
  bool by_kill = false;                    // ended by `kill`, so that no stop event follows
  bool stop_told = false;                  // of the stop in progress: its signal was told
  bool killed = false;                     // KillContainer was given in this run, and told
  bool start_at_next_run = false;          // it was stopped only because keepwell ended
  bool restart_event_due = false;          // the next start is told as a restart
  bool dependents_due = false;             // who restarts with it has not been told to
  std::optional<Instant> healthy_since;    // with each probe; for the reset of the backoff
  std::deque<Instant> restart_times;       // with each probe; for restart.limit, oldest first
  std::uint64_t events_told = 0;           // with each probe; the ordinal of its last event
  std::optional<RestartReason> last_restart_reason;  // of the last automatic or manual restart
  std::optional<WallTime> last_restart;              // when it was decided
  std::string incident;  // of what is going wrong now, or is being put right; empty: nothing
  std::string recovery;  // the incident whose restart has come up and is not healthy yet
  std::optional<WallTime> incident_since;
  std::string last_restart_detail;  // "healthcheck failed 3 times: ...", "exited with 1"
  std::optional<HoldStatus> hold;
  std::optional<Instant> hold_until;  // the same end on our clock; none: not worked out yet
  bool traced = false;                // a debugger is attached to its first process
  std::uint32_t suppressed_now = 0;   // SuppressReasons, as bits, that its incident was told of
  bool budget_paid = false;           // the host's budget has granted the restart that is under way
  std::deque<Instant> budget_times;   // restarts that the budget has granted within its window
  std::optional<int> restart_limit_remaining;  // on_failure:N or restart.limit; none: no limit

  std::uint64_t starts_total = 0;
  std::array<std::uint64_t, kRestartReasons> restarts_total{};
  std::array<std::uint64_t, kSuppressReasons> suppressed_total{};
  std::uint64_t stop_kills_total = 0;
  DurationStats start_to_healthy;
  DurationStats stop_duration;

  // Nothing is to be done about it by itself.
  bool held() const { return hold.has_value() || traced; }
};

// State.Status of the Docker API: created, running (also starting, stopping), paused, restarting
// (also backoff), exited (also failed).
const char* api_status(ServiceState state);

// The name used in metrics and by keepwell ps.
const char* to_string(ServiceState state);
const char* to_string(Health health);
const char* to_string(RestartReason reason);
const char* to_string(SuppressReason reason);
const char* to_string(FailureReason reason);

}  // namespace keepwell
