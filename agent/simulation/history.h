// A recorded history as the world of a simulation: what the journal of a production says became of
// each start, probe and stop is what becomes of it again, at the same times. With the file that was
// in force then, the Supervisor decides the same; with another one, one sees what it would have
// decided. Where the new course asks what the old one never did (a probe in between), the last
// answer holds.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/simulation/simulation.h"
#include "exporters/event.h"

namespace keepwell {

class RecordedWorld {
 public:
  // RECORDS in the journal's order.
  explicit RecordedWorld(const std::vector<Event>& records);

  VirtualEngine::World world();
  Simulation::CaptureTime capture_time();

  // Plans what came from outside: exits that nobody asked for, and commands.
  void plan(Simulation& simulation);

  WallTime begin() const { return begin_; }
  WallTime end() const { return end_; }

 private:
  struct Result {
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
  };
  struct Change {  // of a container
    WallTime at{};
    enum class Kind { started, start_failed, signalled, ended, captured } kind = Kind::started;
    int code = 0;
    bool oom = false;
    bool asked = false;  // ended: after a signal
    std::string detail;
  };
  struct Container {
    std::map<std::string, Check> checks;
    std::vector<Change> changes;  // by time
    WallTime last_result{};       // of reading
  };
  struct Order {
    WallTime at{};
    std::string name;  // container
    Command command;
  };
  void read(const Event& event);
  void read_result(const Event& event);
  void read_command(const Event& event);
  // The change of KIND of NAME that answers an order given at AT: the first one from then on and
  // up to SPAN later, else the last one shortly before.
  const Change* find(const std::string& name, Change::Kind kind, WallTime at, Duration span) const;
  VirtualEngine::ProbeFate probe(const VirtualEngine::Probe& probe,
                                 const VirtualEngine::Host& host);
  const Result* match(Check& check, const CheckSpec& spec, WallTime now);
  WallTime wall_now() const { return simulation_ == nullptr ? begin_ : simulation_->now().wall; }

  std::map<std::string, Container> containers_;  // by name
  std::vector<Order> orders_;
  WallTime begin_{};
  WallTime end_{};
  Simulation* simulation_ = nullptr;
};

}  // namespace keepwell
