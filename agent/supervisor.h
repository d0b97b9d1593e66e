// The whole brain of keepwell, without hands: facts, commands and the time go in, orders come out.
// It has no clock, no descriptor and no log, so the simulator runs it as it is.
//
// A container goes round like this (exporters/container_status.h names the states):
//
//   created -> starting -> running <-> paused
//                 |           | exit, or a stop that was decided: stopping, restarting
//                 v           v
//              backoff <- (restart policy) -> exited, failed
//
// Three rules hold everywhere:
//   - What an order relies on is saved before the order is given, and what happened is told before
//     it is saved. An agent may die between any two actions; the next one is given what was saved
//     (restore) and goes on without a second copy, a second restart or a lost exit. What had been
//     told and not saved it comes to tell again, and knows by its ordinal not to. (A record is
//     written as the container is after the whole input; so of one input all events come first,
//     and whoever told something in it is saved in it: what was told is at most one input ahead.)
//   - The Engine owes exactly one answer to a start or an adoption (`order_open`). Until it has
//     come nothing else is asked of the container; what was decided meanwhile is done then.
//   - An event that names another run of the container, or a probe that is not in flight, is stale
//     and changes nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/dependency_graph.h"
#include "agent/restart_budget.h"
#include "agent/supervisor_io.h"
#include "config/time.h"
#include "exporters/container_status.h"
#include "probes/due_queue.h"

namespace keepwell {

struct HealthRecord;

// A probe whose program does not run after this long has failed (Docker's guard). Where its process
// is in the container already, the check's timeout is enough.
inline constexpr Duration kProbeStartGuard = std::chrono::seconds(30);

// A killed container or probe that is still there after this long is killed again, and whoever
// waits for it is told.
inline constexpr Duration kKillPatience = std::chrono::seconds(10);

// A stop whose signal could not be delivered is not given its grace period for nothing (as Docker).
inline constexpr Duration kUndeliveredPatience = std::chrono::seconds(2);

// Who was not looking blames nobody. What falls due is noticed within kLateTimeout; an input that
// comes later than that after something was due tells that nobody looked since the input before it:
// we were stopped, or the whole machine was. A probe whose timeout has passed in that time is given
// the time anew, for its end may be among what we have not heard yet. Where we come later than
// kLatenessMax, at once or in sum over one probe, results say more about us than about the
// services: they are void. So is a connection that broke under a probe at which nobody looked: the
// server may have waited for us. Whatever else is due is done once, now.
inline constexpr Duration kLateTimeout = std::chrono::milliseconds(250);
inline constexpr Duration kLatenessMax = std::chrono::seconds(5);

// Files with more checks than this have their probes spread over the interval; the first ones come
// earlier by at most this share of it.
inline constexpr std::size_t kChecksBeforeSpread = 50;
inline constexpr double kSpreadOfFirst = 0.5;

class Supervisor {
 public:
  // SEED makes ids and jitter; two agents must not share it, two simulations should.
  explicit Supervisor(std::uint64_t seed);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Takes up what an earlier agent had saved, and TOLD, the events that it had told. Containers
  // that had a process are adopted; nothing is emitted, and nothing is started before the first
  // Configure but what was being started. REQUIRES: called once, before the first handle().
  void restore(std::vector<ContainerStatus> stored, const std::vector<ToldEvent>& told, Now now,
               std::vector<Action>& actions);

  // Takes one input and appends what is to be done, in this order. A NOW
  // that went back is taken as standing still.
  void handle(const Input& input, Now now, std::vector<Action>& actions);

  // When to send the next Tick; none: not before something else happens. After handle() it is later
  // than the time that was given.
  std::optional<Instant> next_deadline() const { return timers_.next(); }

  // By full id; null where there is none. Valid until the next handle().
  const ContainerStatus* find(std::string_view id) const;

  // In the order in which they were created. Valid until the next handle().
  std::vector<const ContainerStatus*> containers() const;

  // The last accepted configuration; null before the first Configure.
  const std::shared_ptr<const ProjectSpec>& project() const { return project_; }

  bool shutting_down() const { return shutting_down_; }

  // From due to running, of all probes (kProbeLatenessBounds).
  const DurationStats& probe_lateness() const { return probe_lateness_; }
  std::size_t probes_in_flight() const { return flights_.size(); }
  // Due, and held up by probes_at_once.
  std::size_t probes_waiting() const { return urgent_.size() + waiting_.size(); }

  // ---- guards, for the metrics
  // Restarts that the host's budget would grant at NOW; none: there is no budget.
  std::optional<int> budget_remaining(Instant now) const { return budget_.remaining(now); }
  // Some restart waits for the budget.
  bool budget_holds() const;
  // Some timeout was held by the pressure guard, and nothing better has come since.
  bool pressure_holds() const;
  // How late the latest of what is due is at NOW: a probe, or anything else. 0: all on time.
  Duration worst_lateness(Instant now) const;

  // What a replay has to take from the history. Where one is missing, the Supervisor's own way.
  struct Replay {
    // The share of restart.jitter, 0 to 1, that was drawn for the container of that name.
    std::function<double(const std::string& name)> jitter;
    // When the host's budget was really looked at, where it was to be at AT: each time a little
    // later, and every restart that it grants moves those after it.
    std::function<Instant(Instant at)> budget;
    // The same of the end of a hold.
    std::function<Instant(const std::string& name, Instant at)> release;
  };
  void replay(Replay replay) { replay_ = std::move(replay); }

  // Whether each exec probe is told as exec_create, exec_start and exec_die; off where nobody
  // listens.
  void tell_probes(bool tell) { tell_probes_ = tell; }

 private:
  struct CheckRun;
  struct Container;
  struct Flight;
  struct HookRun;
  struct Waiter;
  enum class Timer : std::uint8_t { start, stop, probe, flight, hold, capture, budget };
  struct Waiting {  // a due probe that found no free place
    std::uint32_t serial = 0;
    std::uint32_t slot = 0;
  };

  // supervisor.cc: inputs, timers, lookups
  void on(const Tick& tick);
  void on(const EngineEvent& event);
  void on(const Captured& captured);
  void on(const Shutdown& shutdown);
  void on(const Suspended& suspended);
  void take_up(Container& container);
  void take_up(const std::vector<ToldEvent>& told);
  void settle();
  void fire(DueQueue::Key key, Instant due);
  void forgive_lateness(Duration unwatched);
  std::vector<ProbeId> in_flight() const;
  void void_flight(ProbeId id);
  static DueQueue::Key key(std::uint32_t serial, std::uint32_t slot, Timer timer);
  Container* of(const ContainerRef& ref);
  Container* by_id(std::string_view id);
  void save(Container& container, bool status = true);
  void save_news();
  void reply(std::uint64_t request, Status result);
  Event event_of(const Container& container, std::string action) const;
  Event& emit(Container& container, std::string action);
  std::uint64_t random();
  double random_share();  // 0 to 1
  std::string new_id();
  std::string new_incident_id();

  // supervisor_lifecycle.cc: starting and ending
  void start_now(Container& container, bool by_hand);
  void on(const ContainerStarted& event);
  void on(const ContainerStartFailed& event);
  void on(const ContainerExited& event);
  void begin_run(Container& container, Instant at, WallTime wall);
  void note_end(Container& container, const ContainerExited& event);
  void after_end(Container& container, ServiceState state, bool failed, RestartReason reason);
  void start_again(Container& container, StopCause cause);
  void ask_policy(Container& container, bool failed, RestartReason reason);
  void enter_backoff(Container& container, RestartReason reason);
  void rest(Container& container, ServiceState state);
  void note_decision(Container& container, RestartReason reason, std::string detail);
  void forget_starts(Container& container);
  void answer(Container& container, std::uint32_t kinds, const Status& result);
  void changed(const Container& container);

  // supervisor_stop.cc: stopping and pausing
  void stop(Container& container, ServiceState state, StopCause cause, int signal,
            std::optional<Duration> grace);
  void send_stop(Container& container);
  void kill_now(Container& container);
  void stop_timer_fired(Container& container);
  void on(const ContainerPaused& event);
  void on(const ContainerResumed& event);
  void on(const ContainerOom& event);
  void on(const SignalFailed& failed);

  // supervisor_commands.cc
  void on(const Command& command);
  void command_start(Container& container, const Command& command);
  void command_stop(Container& container, const Command& command);
  void command_restart(Container& container, const Command& command);
  void command_kill(Container& container, const Command& command);
  void command_pause(Container& container, const Command& command);
  void command_unpause(Container& container, const Command& command);
  void command_check(Container& container, const Command& command);
  void kill_by_hand(Container& container);
  void cancel_start(Container& container);

  // supervisor_config.cc: configurations and dependencies
  void on(const Configure& configure);
  void wake(Container& container);
  void create(const std::shared_ptr<const ServiceSpec>& spec, int replica,
              const Container* predecessor);
  void update(Container& container, const std::shared_ptr<const ServiceSpec>& spec);
  void retire(Container& container);
  void settle_config(Container& container);
  void destroy(Container& container);
  std::shared_ptr<const ServiceSpec> wanted(const Container& container) const;
  bool outdated(const Container& container) const;
  void install_checks(Container& container);
  void drop_check(Container& container, CheckRun& run);
  void try_start(Container& container);
  void dependencies_changed();
  void restart_dependents();
  bool restart_dependents_of(Container& container);
  void follow_restart(Container& container, const std::string& service);

  // supervisor_shutdown.cc
  void begin_shutdown();
  void limit_stop(Container& container);
  void mark_for_next_run(Container& container);
  void advance_shutdown();
  bool blocked(const std::string& service, const std::vector<const Container*>& leaving) const;

  // supervisor_probes.cc
  void begin_probing(Container& container);
  void resume_probing(Container& container);
  void unpause_probing(Container& container);
  void end_probing(Container& container);
  void set_check_paused(Container& container, std::size_t index, bool pause);
  void schedule(Container& container, std::size_t index, Instant at);
  bool gated(const Container& container, std::size_t index) const;
  void settle_gate(Container& container);
  void schedule_first(Container& container, std::size_t index);
  void probe_due(Container& container, std::size_t index, Instant due);
  void start_probe(Container& container, std::size_t index);
  std::size_t probes_max() const;
  void start_waiting_probes();
  void tell_probe(const Container& container, const CheckSpec& spec, ProbeId id, const char* action,
                  std::optional<int> exit_code = std::nullopt);
  std::string exec_id(ProbeId id) const;
  void on(const ProbeEntered& event);
  void on(const ProbeStarted& event);
  void on(const ProbeEnded& event);
  void flight_timer_fired(ProbeId id);
  void answer_probe(CheckRun& run, bool counted);
  static ProbeResult result_of(const Flight& flight, const ProbeEnded& event,
                               const std::string& id);

  // supervisor_guards.cc: what holds actions back
  void suppress(Container& container, SuppressReason reason, std::string detail);
  bool held_back(Container& container, std::size_t index, OnUnhealthy action);
  bool held_by_hand(Container& container);
  bool granted(Container& container);
  bool wants_restart(const Container& container) const;
  void grant_restarts();
  void grant(Container& container);
  void start_due(Container& container);
  void look_at_budget(Instant at);
  void resume_actions(Container& container);
  void restore_guards(Container& container);
  void command_hold(Container& container, const Command& command);
  void end_hold(Container& container, const char* how);
  void note_traced(Container& container, std::optional<bool> traced);
  void judge_pressure(Container& container, std::size_t index, const ProbeEnded& event,
                      ProbeResult& result);
  void note_held(Container& container, std::size_t index);
  void note_flap(Container& container, std::size_t index, bool passed);

  // supervisor_capture.cc: evidence before a restart
  void end_with_evidence(Container& container, bool kill);
  void end_unhealthy(Container& container);
  void capture_end(Container& container);
  HookId begin_capture(Container& container, std::size_t index);
  bool has_evidence(const Container& container) const;
  void order_evidence(Container& container, std::string cause, bool alive);
  void evidence_over(Container& container);

  // supervisor_incidents.cc: why, for the journal
  Event& record(const Container& container, EventKind kind, std::string what);
  Event& decide(const Container& container, std::string what);
  Event& record_host(std::string what);
  void record_configure(bool first);
  void record_command(const Container& container, const Command& command);
  void record_result(Container& container, std::size_t index, const ProbeResult& result,
                     const HealthRecord& before);
  void open_incident(Container& container);
  void close_incident(Container& container, const char* how);
  void pass_to_recovery(Container& container);
  void note_recovery(Container& container);
  void close_if_well(Container& container);
  void explain_unhealthy(const Container& container, std::size_t index, OnUnhealthy answer);
  void explain_policy(const Container& container, std::string asked, std::string answer);

  // supervisor_verdict.cc
  void apply_result(Container& container, std::size_t index, ProbeResult result);
  void update_health(Container& container, const std::string& check);
  void apply_unhealthy(Container& container, std::size_t index, bool transition);

  // supervisor_actions.cc
  void act_on_unhealthy(Container& container, std::size_t index, bool transition);
  bool excused(const Container& container) const;
  void go_on_acting(Container& container, std::size_t index);
  HookId begin_action(Container& container, std::size_t index, const ActionSpec& action);
  void on(const HookEnded& event);
  void action_over(Container& container, HookId id, const HookRun& hook);
  static void forget_actions(CheckStatus& check, CheckRun& run);

  std::vector<std::unique_ptr<Container>> containers_;
  std::map<std::string, std::string> unborn_;  // name -> id: told as created, and never saved
  std::unordered_map<std::string_view, Container*> by_id_;  // keys live in the containers
  std::unordered_map<std::uint32_t, Container*> by_serial_;
  std::unordered_map<std::string, std::vector<Container*>> by_service_;
  std::unordered_map<ProbeId, std::unique_ptr<Flight>> flights_;
  std::unordered_map<HookId, HookRun> hooks_;
  std::deque<Waiting> urgent_;  // one failure or two from a change of verdict
  std::deque<Waiting> waiting_;
  std::vector<std::string> changed_services_;
  std::vector<std::uint32_t> fresh_starts_;  // containers that began a run in this handle()
  std::vector<std::uint32_t> news_;          // containers that told something in this handle()
  DueQueue timers_;
  RestartBudget budget_;
  std::vector<std::uint32_t> restart_queue_;  // containers with budget_asked

  std::shared_ptr<const ProjectSpec> project_;
  DependencyGraph graph_;
  bool spread_all_ = false;
  bool shutting_down_ = false;
  bool hurry_ = false;
  bool all_stopped_told_ = false;
  bool tell_probes_ = true;
  Replay replay_;

  Now now_{};
  std::vector<Action>* actions_ = nullptr;
  Event told_already_;  // what emit() returns of an event that is not told again
  std::uint64_t random_state_ = 0;
  std::uint64_t incident_state_ = 0;
  std::uint32_t last_serial_ = 0;
  std::uint32_t last_slot_ = 0;
  ProbeId last_probe_ = 0;
  std::uint64_t inputs_ = 0;  // so many were handled
  HookId last_hook_ = 0;
  DurationStats probe_lateness_;
};

}  // namespace keepwell
