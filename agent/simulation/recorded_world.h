// A recorded history as the world of a simulation: what the journal of a production says became of
// each start, probe and stop is what becomes of it again, at the same times. With the file that was
// in force then, the Supervisor decides the same; with another one, one sees what it would have
// decided. Where the new course asks what the old one never did (a probe in between), the last
// answer holds.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/simulation/history.h"
#include "agent/simulation/simulation.h"

namespace keepwell {

class RecordedWorld {
 public:
  // RECORDS in the journal's order.
  explicit RecordedWorld(const std::vector<Event>& records) : history_(read_history(records)) {}

  // What these three give calls this object, which must outlive whom it is given to.
  VirtualEngine::World world();
  Simulation::CaptureTime capture_time();
  Supervisor::Replay replay();

  // The name of the configuration that was in force at the beginning; empty: no record says.
  const std::string& first_config() const { return history_.first_config; }

  // Plans what came from outside: exits that nobody asked for, commands, ends and starts of
  // keepwell itself, and other configurations, which CONFIG finds by their names. Where CONFIG is
  // empty, or finds none, the one at the beginning stays in force. REQUIRES: SIMULATION has not run
  // yet, and outlives this object's use.
  using FindConfig = std::function<std::shared_ptr<const ProjectSpec>(const std::string& name)>;
  void plan(Simulation& simulation, const FindConfig& config);

  WallTime begin() const { return history_.begin; }
  WallTime end() const { return history_.end; }

 private:
  void do_order(const History::Order& order, const FindConfig& config);
  void plan_probes(ContainerStatus& status);
  VirtualEngine::ProbeFate probe(const VirtualEngine::Probe& probe,
                                 const VirtualEngine::Host& host);
  const History::Result* match(const VirtualEngine::Host& host, History::Check& check,
                               const CheckSpec& spec);
  Instant when(const std::vector<WallTime>& times, Instant at) const;
  std::string id_of(const std::string& name) const;
  WallTime wall_now() const {
    return simulation_ == nullptr ? history_.begin : simulation_->now().wall;
  }

  History history_;
  Simulation* simulation_ = nullptr;
  bool as_it_was_ = false;  // under the recorded configurations
};

}  // namespace keepwell
