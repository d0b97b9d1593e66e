// What holds automatic restarts back, and what is kept of each: the part of spec.h that is about
// guards and evidence. Plain values; a field's initialiser is its default.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/time.h"

namespace keepwell {

// DATA/journal: what happened and why, one line each. The oldest file goes when there are too many.
struct JournalSpec {
  std::uint64_t file_bytes_max = 16u << 20;  // max_size
  int files_max = 4;                         // max_files, the one being written among them

  bool operator==(const JournalSpec&) const = default;
};

// At most `count` automatic restarts of the whole host within any `window`; the others wait, in the
// order of their dependencies, then of their services' priorities.
struct RestartBudgetSpec {
  int count = 0;  // 0: no budget
  Duration window = std::chrono::minutes(1);

  bool operator==(const RestartBudgetSpec&) const = default;
};

// A probe that timed out while the host, or the service's own cgroup, was stalled for more than one
// of these shares of its time (PSI "some") says nothing about the service: it is held, not counted,
// for at most max_hold in a row.
struct PressureGuardSpec {
  bool on = false;
  double cpu = 0.6;
  double memory = 0.2;
  double io = 0.4;
  Duration max_hold = std::chrono::minutes(2);

  bool operator==(const PressureGuardSpec&) const = default;
};

inline constexpr int kFlapWindowMax = 60;

// A check whose results change more often than `high` flaps until they change less often than
// `low`; a flapping service is not restarted. Shares of the last `window` results.
struct FlapSpec {
  bool on = false;
  int window = 20;
  double high = 0.5;
  double low = 0.25;

  bool operator==(const FlapSpec&) const = default;
};

// What is saved of a service before it is restarted for being unhealthy, and after it ended by
// itself.
struct CaptureSpec {
  bool on = true;
  Duration timeout = std::chrono::seconds(5);  // by which a restart may be put off
  int log_lines = 200;
  std::vector<std::string> command;  // run in the container; empty: none

  bool operator==(const CaptureSpec&) const = default;
};

// DATA/incidents: the oldest go when there are too many, or all together are too large.
struct IncidentsSpec {
  int count = 50;
  std::uint64_t bytes_max = 64u << 20;

  bool operator==(const IncidentsSpec&) const = default;
};

}  // namespace keepwell
