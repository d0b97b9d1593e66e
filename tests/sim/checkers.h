// What must hold after every step of a simulation, whatever went wrong. The checkers know the
// public state, the input, the actions and the truth (VirtualEngine); they compute what they expect
// by themselves and remember it in ledgers. A ledger is stored and restored together with the
// record of its container, so that a death of the agent takes both back to the same point.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/simulation/virtual_engine.h"
#include "agent/supervisor.h"
#include "tests/model/health_model.h"

namespace keepwell {

struct Ledger {
  Duration backoff{0};                // the last delay, before jitter; 0: it starts again
  int restarts = 0;                   // by the policy since the last start by hand
  bool stop_asked = false;            // by a person, who has not asked for a start since
  std::optional<Instant> not_before;  // the start that the backoff promised
  std::optional<Instant> healthy_since;
  bool was_stable = false;  // in this run
  std::vector<Instant> restart_times;
  bool restart_times_unsure = false;                // the limit was changed under them
  std::shared_ptr<const ServiceSpec> spec_at_end;   // what decided about its last end
  std::shared_ptr<const ServiceSpec> spec_at_stop;  // and about its last stop
  std::shared_ptr<const ServiceSpec> spec;          // as last seen
  bool follow_unsure = false;                       // whether it has had to
  struct Check {
    std::uint64_t counted = 0;         // probes_total as last seen
    std::vector<ModelResult> history;  // of this run, from the last pass on
    Beginning beginning;
    std::optional<ModelVerdict> verdict;    // of the history; none: not worked out yet
    std::shared_ptr<const CheckSpec> spec;  // as last seen
    bool untracked = false;  // a reload has left a state that no history has; until the next pass
    int excused_at = 0;      // the streak up to which a dependency is to blame
  };
  std::map<std::string, Check> checks;
};

class Checkers {
 public:
  explicit Checkers(std::optional<std::string>& violation) : violation_(violation) {}

  void complain(const std::string& text) {
    if (!violation_) violation_ = text;
  }

  void after_step(const Input& input, const std::vector<Action>& actions,
                  const Supervisor& supervisor, const VirtualEngine& engine, Now now);
  void after_restore(const std::vector<Action>& actions, const Supervisor& supervisor);

  // A client asked; it is owed one reply.
  void asked(std::uint64_t request, const Command& command);
  void agent_died();
  // The agent stood still from FROM for LENGTH.
  void stalled(Instant from, Duration length) { last_stall_ = {from, length}; }

  // ---- check_events.cc: what the world was told, over all deaths
  void told(const Event& event);
  // A signal, or SIGKILL, is on its way to this container.
  void ordered(const ContainerRef& container, bool sigkill);
  // A new agent has begun, with records of which these are behind the times.
  void restored(const std::set<std::string>& torn);

  // The machine was suspended: what is in flight at AT does not count.
  void suspended(Instant at) { last_suspend_ = at; }

  // All is well now: what should run does, and nobody waits.
  void all_well(const Supervisor& supervisor, const VirtualEngine& engine);

  Ledger& ledger(const std::string& id) { return ledgers_[id]; }
  void forget_ledgers() { ledgers_.clear(); }

 private:
  // What a container looked like after the step before: only what is compared.
  struct Seen {
    ServiceState state = ServiceState::created;
    std::uint64_t run = 0;
    std::uint64_t starts_total = 0;
    Health health = Health::none;
    std::optional<Instant> next_start;
    Instant started_mono{};
    bool stopped_by_hand = false;
    bool start_at_next_run = false;
    std::uint64_t events_told = 0;
    bool runs_well = false;  // nobody can blame it
    bool done_well = false;  // the same of a job
    std::string service;
  };
  struct Told {
    bool created = false;
    bool alive = false;
    bool kill_told = false;  // in this run
    bool oom_told = false;
    int sigkills = 0;        // told in this run
    int sent_sigkills = 0;   // of these; the others were told by an agent that died over it
    int asked_sigkills = 0;  // by people
    bool unsure = false;     // a record behind the times may have told things again, until a start
    std::string health;      // the last one told of this run
    std::map<std::uint64_t, std::string> by_ordinal;
  };
  struct Step {
    const Input& input;
    const std::vector<Action>& actions;
    const Supervisor& supervisor;
    const VirtualEngine& engine;
    Now now;
    const ProbeEnded* ended = nullptr;  // if the input is one
    const ContainerExited* exited = nullptr;
    const Command* command = nullptr;
    const SignalFailed* failed = nullptr;
    std::string about;  // the id of the container that the input names
  };
  static bool live(ServiceState state);
  static Seen see(const ContainerStatus& container);
  int told_in(const Step& step, const ContainerStatus& after, const Seen* before,
              const std::string& action);
  void check_told_all(const ContainerStatus& container);
  void check_undelivered(const Step& step, const ContainerStatus& after);
  void check_replies(const Step& step);
  void note_command(const Step& step);
  void note_news(const Step& step);
  void check_container(const Step& step, const ContainerStatus& after);
  void check_events(const Step& step, const ContainerStatus& after, const Seen* before);
  void check_exit(const Step& step, const ContainerStatus& after, const Seen& before);
  void check_start_failed(const Step& step, const ContainerStatus& after, const Seen& before);
  void note_stability(const Step& step, const ContainerStatus& after, const Seen& before);
  void check_backoff(const Step& step, const ContainerStatus& after, const Seen& before);
  void check_verdicts(const Step& step, const ContainerStatus& after, const Seen* before);
  void check_counted(const Step& step, const ContainerStatus& after, const CheckStatus& check,
                     Ledger::Check& ledger);
  void check_uncounted(const Step& step, const ContainerStatus& after, const Seen& before);
  void check_probing(const Step& step, const ContainerStatus& after);
  void check_hooks(const Step& step);
  void forget_hooks(const Step& step);
  void check_followed(const Supervisor& supervisor, const ContainerStatus& container);
  bool excused(const ServiceSpec& spec) const;
  static bool gated(const ContainerStatus& container, const CheckStatus& check);
  void check_action(const Step& step, const ContainerStatus& after, const Seen& before,
                    const CheckStatus& check);
  static bool dependency_met(const Dependency& dependency, const Supervisor& supervisor,
                             bool required_counts);
  void check_start(const Step& step, const StartContainer& start);
  void check_stop_order(const Step& step, const SignalContainer& signal);
  void check_well(const Supervisor& supervisor, const VirtualEngine& engine,
                  const ContainerStatus& container);
  void complain(const ContainerStatus& container, const std::string& text);

  std::optional<std::string>& violation_;
  std::map<std::string, Seen> seen_;
  std::map<std::string, Ledger> ledgers_;
  std::map<std::string, Told> told_;
  std::map<std::uint64_t, Command> open_;
  std::set<std::string> unanswered_;  // adoptions
  std::set<std::string> pausing_;
  struct Stall {
    Instant from{};
    Duration length{0};
  };
  std::optional<Stall> last_stall_;
  std::optional<Instant> last_suspend_;
  std::set<std::pair<std::string, std::string>> by_hand_;  // probes that were asked for: id, check
  // By container and check, the hooks that its being unhealthy now has set off.
  std::map<std::pair<std::string, std::string>, std::set<std::string>> hooks_run_;
  std::size_t unplanned_ = 0;  // checks that are neither in flight nor planned, in this step
};

}  // namespace keepwell
