// What the logger has counted of one container's output, read from the record that it keeps beside
// the container's log (logger/log_record.h). The record is the logger's; nobody else writes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/time.h"

namespace keepwell {

struct LogCounters {
  std::uint64_t bytes = 0;           // of output that was stored
  std::uint64_t lines = 0;           // parts of long lines count one each
  std::uint64_t rotations = 0;       // of the log file
  std::uint64_t write_failures = 0;  // attempts that failed; nothing is lost by one
  Duration stalled{0};               // time in which output waited for the disk
};

// The counters in the record at PATH, both streams together; none where there is no record.
std::optional<LogCounters> read_log_counters(const std::string& path);

}  // namespace keepwell
