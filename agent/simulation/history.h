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
  Supervisor::Replay replay();

  // The name of the configuration that was in force at the beginning; empty: no record says.
  const std::string& first_config() const { return first_config_; }

  // Plans what came from outside: exits that nobody asked for, commands, ends and starts of
  // keepwell itself, and other configurations, which CONFIG finds by their names. Where CONFIG is
  // empty, or finds none, the one at the beginning stays in force. REQUIRES: SIMULATION has not run
  // yet.
  using FindConfig = std::function<std::shared_ptr<const ProjectSpec>(const std::string& name)>;
  void plan(Simulation& simulation, const FindConfig& config);

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
    WallTime started{};  // of reading: its last run
  };
  struct Order {
    enum class What { command, configure, agent, shutdown };
    WallTime at{};
    WallTime died{};  // agent: when the one before was gone, at the earliest
    What what = What::command;
    std::string name;  // of a container; configure and agent: of the configuration
    Command command{};
  };
  void read(const Event& event);
  void read_result(const Event& event);
  void put_back_passes(const Container& container, Check& check, const Result& result,
                       const Event& event);
  void read_fact(const Event& event);
  void read_command(const Event& event);
  void read_configure(const Event& event);
  void do_order(const Order& order, const FindConfig& config);
  void plan_probes(ContainerStatus& status);
  // The change of KIND of NAME that answers an order given at AT: the first one that was not played
  // yet, from shortly before up to SPAN later.
  Change* find(const std::string& name, Change::Kind kind, WallTime at, Duration span);
  VirtualEngine::ProbeFate probe(const VirtualEngine::Probe& probe,
                                 const VirtualEngine::Host& host);
  Instant when(const std::vector<WallTime>& times, Instant at) const;
  bool is_cut_off(const std::string& name, WallTime at, Duration span) const;
  const Result* match(const VirtualEngine::Host& host, Check& check, const CheckSpec& spec);
  std::string id_of(const std::string& name) const;
  WallTime wall_now() const { return simulation_ == nullptr ? begin_ : simulation_->now().wall; }

  std::map<std::string, Container> containers_;  // by name
  std::vector<Order> orders_;
  std::vector<WallTime> budget_looks_;  // when the host's budget granted or refused something
  WallTime last_at_{};                  // of reading: the record before
  WallTime agent_began_{};
  std::string first_config_;
  bool configured_ = false;
  std::int64_t passes_ = 0;  // that were put back
  WallTime begin_{};
  WallTime end_{};
  Simulation* simulation_ = nullptr;
  bool as_it_was_ = false;  // under the recorded configurations
};

}  // namespace keepwell
