// The output of all containers together, for metrics: counters that only grow, though containers
// come and go, each with the counters of its own. Pure.
#pragma once

#include <map>
#include <set>
#include <string>

#include "exporters/agent_stats.h"
#include "runtime/log_counters.h"

namespace keepwell {

class LogTotals {
 public:
  // The counters that container ID has now. What it had before it was seen first counts too; a
  // record that begins anew counts from 0.
  void see(const std::string& id, const LogCounters& now);
  // The others are gone: forgotten, not subtracted.
  void keep(const std::set<std::string>& ids);

  const AgentStats::LogStats& totals() const { return totals_; }

 private:
  void add(const LogCounters& counters, const LogCounters& before);

  std::map<std::string, LogCounters> seen_;
  AgentStats::LogStats totals_;
};

}  // namespace keepwell
