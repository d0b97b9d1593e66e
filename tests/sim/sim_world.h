// One simulated world: the Supervisor as it is, a virtual clock, a VirtualEngine, people who type
// commands and change the configuration, and deaths of the agent at any action. A seed decides all.
//
// It goes through four phases: faults (everything may go wrong, checkers look after every step),
// healing (nothing goes wrong any more: within bounded time all must be well), an orderly end, and
// a second `keepwell run` on what the first one left.
//
// A small world is for trying every boundary between two actions in turn: some seconds of starts,
// ends, commands and reloads in which nothing of ours dies but once, at the boundary that is asked
// for, and then the healing.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/simulation/virtual_engine.h"
#include "agent/supervisor.h"
#include "tests/sim/checkers.h"
#include "tests/sim/faults.h"
#include "tests/sim/faulty_world.h"
#include "tests/sim/random.h"

namespace keepwell {

class SimWorld {
 public:
  struct Options {
    Duration faulty = std::chrono::hours(2);
    bool trace = false;
    bool small = false;
    std::optional<std::uint64_t> death_at;  // of a small one; none: nothing dies
    bool keeper_dies = false;               // there: the keeper too
    bool dies_again = false;                // and the next agent while it takes things up
  };
  struct Outcome {
    Duration virtual_time{0};
    std::uint64_t steps = 0;
    std::uint64_t deaths = 0;
    std::uint64_t boundaries = 0;  // between actions, in the time of faults of a small world
    std::uint64_t restarts = 0;
    std::uint64_t probes = 0;
    std::optional<std::string> violation;
  };

  SimWorld(std::uint64_t seed, Options options);
  Outcome run();

 private:
  // A death of the agent that comes as soon as there is a batch of its kind.
  struct Death {
    enum class Among { any, orders, news };
    Among among = Among::any;
    bool keeper_too = false;
  };
  void begin_agent();
  void plan_death();
  std::optional<std::size_t> dies_after(const std::vector<Action>& actions);
  std::optional<std::size_t> dies_at_boundary(const std::vector<Action>& actions);
  void agent_dies(bool keeper_too);
  void go_on_until(Instant end);
  void step();
  void world_event();
  void deliver(const Input& input);
  void perform(const Action& action);
  void store(const Save& save);
  void tear_a_record();
  void command();
  void plan_next_world_event();
  void pass_time(Duration duration);
  void heal_and_check();
  void end_and_run_again();
  std::vector<ContainerStatus> stored() const;

  Outcome outcome_;
  Random random_;
  Options options_;
  Faults faults_;
  Now now_;
  bool healing_ = false;
  std::optional<Death> death_;
  std::optional<std::uint64_t> second_death_at_;
  bool all_stopped_ = false;
  std::shared_ptr<const ProjectSpec> project_;
  Checkers checkers_;
  FaultyWorld world_;
  VirtualEngine engine_;
  std::unique_ptr<Supervisor> supervisor_;
  struct Stored {
    ContainerStatus status;
    Ledger ledger;
  };
  std::map<std::string, Stored> stored_;
  std::map<std::string, Stored> stored_before_;  // what is read where the newest record is torn
  std::set<std::string> torn_;                   // ids whose newest record was lost
  std::deque<ToldEvent> told_;                   // the event log on disk
  std::deque<Input> inputs_;                     // that follow from actions
  std::optional<Instant> next_world_event_;
  std::uint64_t last_request_ = 0;
};

}  // namespace keepwell
