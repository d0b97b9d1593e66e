// An Engine without processes: containers and probes are records on one timeline of happenings.
// What becomes of each order is asked of a World, which plays a script (script.h) or a journal
// (recorded_world.h), or draws faults from a seed (tests/sim/faulty_world.h). The engine stands for
// the keeper and the kernel, so it goes on when the agent dies: containers keep running, exits are
// held until acknowledged, probes end with their agent.
//
// It also judges: an order that a real engine could not carry out without harm (a second copy, a
// probe in a frozen container, a removal under a living process) is a violation.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "config/time.h"
#include "runtime/engine.h"

namespace keepwell {

// Why a start that was adopted has failed: its order was lost with the agent that gave it.
inline constexpr const char* kNeverRan = "it had not come to run";

class VirtualEngine final : public Engine {
 public:
  using Complain = std::function<void(const std::string&)>;

  // What really is, behind all reports.
  struct Host {
    enum class Phase { none, starting, running, ended };
    Instant last_report{};
    Phase phase = Phase::none;
    std::uint64_t run = 0;
    std::uint64_t life = 0;  // no two processes share one, whatever their records say
    int pid = 0;
    bool frozen = false;
    bool signalled = false;  // a stop signal waits for the thaw, or is being obeyed
    bool asked = false;      // this agent has started or adopted it
    bool adopted = false;
    bool held = false;         // ended, and not acknowledged
    bool kept = false;         // its keeper has been with it from the beginning
    bool record_lost = false;  // the agent may know less of it than an earlier one did
    Instant started{};
    ContainerExited exit;
    std::string name;
    std::shared_ptr<const ServiceSpec> spec;
  };
  struct Probe {
    ContainerRef container;
    std::shared_ptr<const CheckSpec> check;
    Instant ordered{};
    std::optional<Instant> entered, started;  // as told
    std::optional<Instant> kill_asked;
  };

  // ---- what the world decides; each is asked once for each order
  struct Start {
    Duration after{0};
    int failed_with = 0;  // 126 to 128: it does not come to run
    std::string text{};
  };
  struct End {
    Duration after{0};
    int code = 0;
    int signal = 0;
    bool oom = false;
    bool oom_told = false;  // before the end, on its own
  };
  struct ProbeFate {
    std::optional<Duration> enters_after;  // none: it does not stand at the door to be told of
    std::optional<Duration> starts_after;  // none: its program never runs
    std::optional<Duration> ends_after;    // of the order; none: only when it is killed
    ProbeEnded end;
  };
  struct HookFate {
    Duration after{0};
    int code = 0;
    std::string error{};
  };
  // Where a world says nothing, nothing goes wrong.
  struct World {
    // How late news are.
    std::function<Duration(bool of_container)> news = [](bool) { return Duration{0}; };
    std::function<Start(const Host&)> start;
    // Whether the agent dies between the orders that make a start, so that it comes to nothing.
    std::function<bool(const Host&)> start_cut_short = [](const Host&) { return false; };
    // How it ends by itself; none: it does not.
    std::function<std::optional<End>(const Host&)> life = [](const Host&) { return std::nullopt; };
    std::function<bool(const Host&)> ends_after_all = [](const Host&) { return true; };
    std::function<bool(const Host&)> signal_fails = [](const Host&) { return false; };
    std::function<std::optional<End>(const Host&)> stop;  // of the stop signal; none: ignored
    std::function<Duration(const Host&)> kill;
    // Of a freeze or a thaw; with a text it fails.
    std::function<Start(const Host&)> freeze = [](const Host&) {
      return Start{.after = std::chrono::milliseconds(10)};
    };
    std::function<ProbeFate(const Probe&, const Host&, Instant now)> probe;
    // Of a probe that is killed, and of one whose container ends under it. END says what is
    // usual; the world may change it.
    std::function<Duration(const Probe&, const Host&, ProbeEnded& end)> probe_dies;
    std::function<HookFate(const HookOrder&)> hook = [](const HookOrder&) { return HookFate{}; };
  };

  VirtualEngine(World world, Complain complain);

  // ---- the world's side
  void set_now(Now now) { now_ = now; }
  std::optional<Instant> next() const;
  // The first report that is due; whoever takes it delivers it.
  std::optional<EngineEvent> take();
  // What was known of the probe whose ProbeEnded was taken last.
  const Probe& ended_probe() const { return ended_probe_; }
  void acknowledge(const ContainerRef& container);
  void agent_died();
  void keeper_died();
  // The agent's record of container ID is behind the times, until it knows better: it may ask for
  // what it had done.
  void record_lost(const std::string& id);
  // What the agent has not adopted is ended.
  void clean_leftovers();
  // The process of container ID ends so; nothing where it does not run.
  void end_now(const std::string& id, const End& end);

  const Host* host(const std::string& id) const;
  const std::map<std::string, Host>& hosts() const { return hosts_; }
  const std::map<ProbeId, Probe>& probes() const { return probes_; }
  // Hooks that run, with the time by which their end must have been told.
  const std::map<HookId, Instant>& hooks() const { return hooks_; }

  // ---- Engine
  void start(const StartOrder& order) override;
  void adopt(const AdoptOrder& order) override;
  Status signal(const ContainerRef& container, int signal) override;
  void kill(const ContainerRef& container) override;
  void pause(const ContainerRef& container) override;
  void resume(const ContainerRef& container) override;
  void remove(const std::string& id) override;
  void start_probe(const ProbeOrder& order) override;
  void kill_probe(ProbeId probe) override;
  void run_hook(const HookOrder& order) override;

 private:
  enum class Kind { come_up, exit, freeze, thaw, of_probe, report };
  struct Happening {
    Instant at{};
    std::uint64_t number = 0;
    Kind kind = Kind::report;
    std::uint64_t epoch = 0;  // of the agent; what is told to a dead one is not told
    ContainerRef container{};
    std::uint64_t life = 0;
    Start start{};
    End end{};
    bool of_itself = false;            // an exit that nobody asked for
    ProbeId probe = 0;                 // of_probe: still there, or it is not told
    std::vector<EngineEvent> event{};  // of_probe, report: one

    bool operator<(const Happening& other) const {  // for a queue with the earliest on top
      return at != other.at ? at > other.at : number > other.number;
    }
  };

  void happen(Happening happening, Duration after);
  void happen_to_probe(ProbeId id, EngineEvent event, Duration after);
  void report(EngineEvent event, Duration after);
  void report_of(Host& host, EngineEvent event);
  std::optional<EngineEvent> apply(Happening& happening);
  std::optional<EngineEvent> deliver(EngineEvent event);
  void freeze_or_thaw(Host& host, const Happening& happening);
  void come_up(Host& host, const Happening& happening);
  void end(Host& host, const Happening& happening);
  void end_leftover(Host& host);
  void obey_stop(Host& host, const std::string& id);
  void change_frozen(const ContainerRef& container, Kind kind);
  Host* running(const ContainerRef& container);

  World world_;
  Complain complain_;
  Now now_{};
  std::map<std::string, Host> hosts_;
  std::map<ProbeId, Probe> probes_;
  Probe ended_probe_;
  std::map<HookId, Instant> hooks_;
  std::priority_queue<Happening> timeline_;
  std::uint64_t epoch_ = 0;
  std::uint64_t last_life_ = 0;
  std::uint64_t last_number_ = 0;
  int last_pid_ = 1000;
};

}  // namespace keepwell
