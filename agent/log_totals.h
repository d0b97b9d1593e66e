// The output of all containers together, for metrics: counters that only grow, though containers
// come and go, each with the counters of its own. Pure.
#pragma once

#include <map>
#include <string>

#include "exporters/agent_stats.h"
#include "runtime/log_counters.h"

namespace keepwell {

class LogTotals {
 public:
  // NOW: the counters of every container, by id. What one had before it was seen first counts too;
  // a record that begins anew counts from 0; who is missing is forgotten, not subtracted.
  void see(std::map<std::string, LogCounters> now);

  const AgentStats::LogStats& totals() const { return totals_; }

 private:
  void add(const LogCounters& counters, const LogCounters& before);

  std::map<std::string, LogCounters> seen_;
  AgentStats::LogStats totals_;
};

}  // namespace keepwell
