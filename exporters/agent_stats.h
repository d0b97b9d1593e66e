// What the agent knows of itself, for /metrics: counters that its parts raise as they work (plain
// integers; one thread) and gauges that the caller fills just before a scrape. Parts that do not
// exist in this agent leave their optional empty, and their metric is then not shown at all rather
// than shown as a false 0.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/time.h"
#include "exporters/container_status.h"

namespace keepwell {

// One API route with one method. `route` is the pattern ("/containers/{id}/json"), never a path
// that a client chose: else a scanner could make series without end.
struct ApiRouteStats {
  std::array<std::uint64_t, 5> by_class{};  // 1xx to 5xx
  DurationStats duration;                   // kApiDurationBounds
};

struct HookStats {
  std::uint64_t runs_total = 0;
  std::uint64_t failures_total = 0;
};

struct WebhookStats {
  std::uint64_t delivered_total = 0;
  std::uint64_t failures_total = 0;  // attempts
  std::uint64_t dropped_total = 0;   // refused, too old, or one too many
  std::uint64_t pending = 0;         // now
};

// PSI avg10 as a share, 0 to 1.
struct PressureStats {
  std::string resource;  // cpu, memory, io
  double some = 0;
  std::optional<double> full;  // cpu has none on older kernels
};

// Of the agent process; from /proc/self, read by runtime when scraped.
struct ProcessStats {
  double cpu_seconds = 0;
  std::uint64_t resident_bytes = 0;
  std::uint64_t virtual_bytes = 0;
  std::uint64_t open_fds = 0;
  std::uint64_t max_fds = 0;
  double start_time_seconds = 0;  // since 1970
};

struct AgentStats {
  std::string version;  // of keepwell
  std::string commit;   // empty: unknown
  std::string libuv;    // uv_version_string()

  DurationStats loop_lag;        // kLoopLagBounds
  DurationStats probe_lateness;  // actual start minus due time; kProbeLatenessBounds

  // Key: route pattern, method. Routes known from the start show as 0 when put in empty.
  std::map<std::pair<std::string, std::string>, ApiRouteStats> api;

  std::uint64_t exec_sessions = 0;  // now
  std::uint64_t exec_sessions_total = 0;
  std::uint64_t exec_bytes_in_total = 0;   // client to container
  std::uint64_t exec_bytes_out_total = 0;  // container to client

  std::uint64_t events_total = 0;
  std::uint64_t event_subscribers = 0;                // now
  std::uint64_t event_subscribers_dropped_total = 0;  // were too slow
  std::uint64_t log_followers = 0;                    // now
  std::uint64_t log_followers_dropped_total = 0;

  // Of the logger process, where it has told.
  struct LogStats {
    std::uint64_t bytes_total = 0;
    std::uint64_t lines_total = 0;
    std::uint64_t rotations_total = 0;
    std::uint64_t write_failures_total = 0;
    Duration stalled_total{0};  // time in which a full or slow disk held writers up
  };
  std::optional<LogStats> log;

  std::uint64_t state_write_failures_total = 0;

  struct JournalStats {
    std::uint64_t bytes_total = 0;
    std::uint64_t records_total = 0;
    std::uint64_t write_failures_total = 0;
    std::uint64_t torn_total = 0;       // records that were found torn or foreign
    std::uint64_t newer_total = 0;      // or of a newer version
    std::uint64_t torn_read_total = 0;  // the part of torn_total that readers met
  };
  JournalStats journal;

  std::uint64_t config_reloads_total = 0;  // asked for, failed ones too
  std::uint64_t config_reload_failures_total = 0;
  std::optional<WallTime> config_last_reload;  // last one that was accepted; the first load counts

  std::map<std::string, HookStats> hooks;
  std::map<std::string, WebhookStats> webhooks;
  std::uint64_t probes_in_flight = 0;  // now
  std::uint64_t probes_waiting = 0;    // due, and held up by probes_at_once

  struct EvidenceStats {
    std::uint64_t captures_total = 0;
    std::uint64_t failures_total = 0;  // something is missing
    std::uint64_t removed_total = 0;   // incidents that made room for newer ones
  };
  EvidenceStats evidence;

  std::optional<double> restart_budget_remaining;
  std::vector<PressureStats> pressure;
  std::optional<bool> pressure_guard_active;
  std::optional<bool> budget_guard_active;

  std::optional<ProcessStats> process;
};

}  // namespace keepwell
