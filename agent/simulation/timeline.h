// What a simulation says, for people and for scripts: one line for each thing that happened, and at
// the end what became of each service.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/simulation/simulation.h"

namespace keepwell {

class Timeline {
 public:
  struct Options {
    WallTime begin{};
    bool relative = true;  // times since BEGIN; else of the day, in UTC
    bool json = false;     // one object a line
    bool results = true;   // also probe results
  };
  explicit Timeline(Options options) : options_(options) {}

  // The line for EVENT with its newline; empty for what is not shown.
  std::string line(const Event& event) const;

  // Counts of each service: starts, restarts by reason, suppressions, time not healthy.
  std::string summary(const Simulation& simulation) const;

 private:
  std::string time_of(WallTime at) const;

  Options options_;
};

// How two histories differ in what was decided: decisions of each container in order, times apart.
struct Comparison {
  std::size_t recorded = 0;
  std::size_t simulated = 0;
  std::vector<std::string> differences;  // in words, at most a few of each container
};
Comparison compare_decisions(const std::vector<Event>& recorded,
                             const std::vector<Event>& simulated);

}  // namespace keepwell
