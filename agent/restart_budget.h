// The host's budget of automatic restarts, and whose turn it is when not all can have one. Pure
// arithmetic; who waits, and what a restart is, is the Supervisor's.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "agent/dependency_graph.h"
#include "config/spec.h"
#include "config/time.h"

namespace keepwell {

// Restarts that are asked for within this time of each other are ordered; without it, whoever is
// seen first would have the last place whatever its priority.
inline constexpr Duration kBudgetGather = std::chrono::seconds(1);

class RestartBudget {
 public:
  // What was taken before still counts.
  void set(const RestartBudgetSpec& spec) { spec_ = spec; }
  const RestartBudgetSpec& spec() const { return spec_; }
  bool on() const { return spec_.count > 0; }

  // None: there is no budget.
  std::optional<int> remaining(Instant now) const;
  void take(Instant now);
  // What an earlier agent has granted; in any order.
  void restore(const std::deque<Instant>& times);
  // When the next restart can be granted; NOW or before: at once. REQUIRES: on().
  Instant next_free(Instant now) const;

 private:
  RestartBudgetSpec spec_;
  std::deque<Instant> times_;  // oldest first
};

struct RestartWish {
  std::uint32_t serial = 0;
  std::string service;
  int priority = 0;
  Instant asked{};
  int tries = 0;  // restarts that it was granted since it was healthy last
};

// The serials of WISHES in the order in which they get a restart: a dependency before whatever
// depends on it (directly or not), else the fewer tries (whom a restart has not helped must not
// keep the others from theirs), the higher priority, the earlier wish, the lower serial. A
// dependency has at least the standing of what waits for it.
std::vector<std::uint32_t> restart_order(const std::vector<RestartWish>& wishes,
                                         const DependencyGraph& graph);

}  // namespace keepwell
