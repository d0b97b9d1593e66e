#include "agent/log_totals.h"

namespace keepwell {

namespace {

template <class Count>
Count grown(Count now, Count before) {
  return now >= before ? now - before : now;
}

}  // namespace

void LogTotals::see(const std::string& id, const LogCounters& now) {
  LogCounters& before = seen_[id];
  add(now, before);
  before = now;
}

void LogTotals::keep(const std::set<std::string>& ids) {
  std::erase_if(seen_, [&](const auto& entry) { return !ids.contains(entry.first); });
}

void LogTotals::add(const LogCounters& counters, const LogCounters& before) {
  totals_.bytes_total += grown(counters.bytes, before.bytes);
  totals_.lines_total += grown(counters.lines, before.lines);
  totals_.rotations_total += grown(counters.rotations, before.rotations);
  totals_.write_failures_total += grown(counters.write_failures, before.write_failures);
  totals_.stalled_total += grown(counters.stalled, before.stalled);
}

}  // namespace keepwell
