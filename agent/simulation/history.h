// What the journal of a production says became of each start, probe and stop, and what came from
// outside: in the shape in which a replay (recorded_world.h) asks for it. The replay marks in it
// what it has played.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "agent/supervisor_io.h"
#include "exporters/event.h"

namespace keepwell {

struct History {
  struct Result {  // of a probe
    WallTime started{};
    Duration took{0};
    std::string outcome;  // pass, fail, timeout
    std::string reason;
    int code = 0;
    std::string output;
    std::string pressure;
    bool traced = false;
  };
  struct Check {
    std::vector<Result> results;   // by time
    std::size_t next = 0;          // the first that was not played
    const Result* last = nullptr;  // played last
    Duration pace{0};              // the shortest time from one to the next; 0: not known
  };
  struct Change {  // of a container
    WallTime at{};
    enum class Kind { started, start_failed, signalled, ended, captured } kind = Kind::started;
    int code = 0;
    bool oom = false;
    bool asked = false;  // ended: after a signal
    bool played = false;
    std::string detail;
  };
  struct Container {
    std::map<std::string, Check> checks;
    std::vector<Change> changes;  // by time
    std::deque<double> jitter;    // drawn, in order
    std::vector<WallTime> releases;
  };
  struct Order {
    enum class What { command, configure, agent, shutdown };
    WallTime at{};
    WallTime died{};  // agent: when the one before was gone, at the earliest
    What what = What::command;
    std::string name;  // of a container; configure and agent: of the configuration
    Command command{};
  };

  // The change of KIND of the container NAME that answers an order given at AT: the first one that
  // was not played yet, from shortly before up to SPAN later; nullptr: there is none. It is the
  // history's.
  Change* find(const std::string& name, Change::Kind kind, WallTime at, Duration span);
  // Whether the container NAME, or the agent, ended within SPAN from AT on.
  bool is_cut_off(const std::string& name, WallTime at, Duration span) const;

  std::map<std::string, Container> containers;  // by name
  std::vector<Order> orders;
  std::vector<WallTime> budget_looks;  // when the host's budget granted or refused something
  std::string first_config;            // in force at the beginning; empty: no record says
  WallTime begin{};
  WallTime end{};
};

// RECORDS in the journal's order. What they cannot mean is passed over or bounded, so that any
// journal gives a history: times from before the clock was set, numbers that nothing can take.
History read_history(const std::vector<Event>& records);

}  // namespace keepwell
