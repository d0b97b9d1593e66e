// Runs the real Supervisor on a virtual clock against a VirtualEngine, and hands on everything that
// it tells or decides. Nothing runs, nothing is written; the same input gives the same output to
// the byte. `keepwell simulate` plays a script or a journal into it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/simulation/virtual_engine.h"
#include "agent/supervisor.h"

namespace keepwell {

// Hands an order of ACTION to ENGINE. False: it is none of an engine's.
bool give_order(Engine& engine, const Action& action);

// Whether EVENT is one of those by which two histories are compared: what was done to a service,
// or was not.
bool is_decision(const Event& event);

class Simulation {
 public:
  // How long saving evidence takes; a virtual world has none to save.
  using CaptureTime = std::function<Duration(const Capture& capture, Now now)>;

  struct Options {
    std::shared_ptr<const ProjectSpec> project;
    VirtualEngine::World world;
    WallTime begin{};
    CaptureTime capture_time;
    Supervisor::Replay replay{};
    // Gets events, results and decisions in their order (not those of single probes' execs).
    std::function<void(const Event&)> on_event;
  };
  explicit Simulation(Options options);
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  // WHAT is done at AT, before anything else that is due then; in the order of the calls.
  void plan(WallTime at, std::function<void()> what);

  // Up to END, everything that is due then included.
  void run_until(WallTime end);

  // For what was planned: inputs, and the world's side.
  void give(const Input& input);
  VirtualEngine& engine() { return engine_; }
  // The agent dies: until restart_agent() nothing is heard of, and nothing done.
  void kill_agent();
  // The agent (dead, or dying now) comes back with what it had stored, of which ADJUST (may be
  // empty) knows better; it finds PROJECT accepted.
  void restart_agent(std::shared_ptr<const ProjectSpec> project,
                     const std::function<void(ContainerStatus&)>& adjust = {});
  const Supervisor& supervisor() const { return *supervisor_; }
  Now now() const { return now_; }

  // What an engine must never be asked for; empty: all was well.
  const std::string& violation() const { return violation_; }

 private:
  void pass_to(Instant at);
  bool step(Instant end);
  void begin_agent();
  void perform(const std::vector<Action>& actions);

  Options options_;
  Now now_;
  std::string violation_;
  VirtualEngine engine_;
  std::unique_ptr<Supervisor> supervisor_;
  std::uint64_t agents_ = 0;
  bool dead_ = false;
  std::multimap<Instant, std::function<void()>> planned_;
};

}  // namespace keepwell
