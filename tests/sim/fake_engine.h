// An Engine without processes: containers and probes are records on one timeline of happenings,
// driven by a seed. It stands for the keeper and the kernel, so it goes on when the agent dies:
// containers keep running, exits are held until acknowledged, probes end with their agent.
//
// It also judges: an order that a real engine could not carry out without harm (a second copy, a
// probe in a frozen container, a removal under a living process) is a violation.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "config/time.h"
#include "runtime/engine.h"
#include "tests/sim/faults.h"

namespace keepwell {

// Why an adopted start failed: nobody's fault.
inline constexpr const char* kNeverRan = "it had not come to run";

class FakeEngine final : public Engine {
 public:
  using Complain = std::function<void(const std::string&)>;

  FakeEngine(std::uint64_t seed, Faults faults, Complain complain);

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
    bool held = false;  // ended, and not acknowledged
    bool kept = false;  // its keeper has been with it from the beginning
    Instant started{};
    std::optional<Instant> sick_from;
    bool sick_hangs = false;
    ContainerExited exit;
    std::shared_ptr<const ServiceSpec> spec;
  };
  struct Probe {
    ContainerRef container;
    std::shared_ptr<const CheckSpec> check;
    Instant ordered{};
    std::optional<Instant> entered, started;  // as told
    std::optional<Instant> kill_asked;
  };

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
  // Records of these are behind the times, until the agent knows better.
  void torn(const std::set<std::string>& ids) { torn_.insert(ids.begin(), ids.end()); }
  // What the agent has not adopted is ended.
  void clean_leftovers();
  void heal();

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
  enum class Kind { come_up, exit, freeze, thaw, probe_enters, probe_starts, probe_ends, report };
  struct Happening {
    Instant at{};
    std::uint64_t number = 0;
    Kind kind = Kind::report;
    std::uint64_t epoch = 0;  // of the agent; what is told to a dead one is not told
    std::string id;
    std::uint64_t run = 0;
    std::uint64_t life = 0;
    int code = 0;
    int signal = 0;
    bool oom = false;
    bool of_itself = false;  // an exit that nobody asked for
    ProbeId probe = 0;
    std::vector<EngineEvent> event;  // of a report: one
    ProbeEnded end;

    bool operator<(const Happening& other) const {  // for a queue with the earliest on top
      return at != other.at ? at > other.at : number > other.number;
    }
  };

  static std::string text_of(const ContainerRef& container);
  static ProbeEnded ended_as(ProbeId id, ProbeEnded::How how);
  void happen(Happening happening, Duration after);
  void report(EngineEvent event);
  void report_of(Host& host, EngineEvent event);
  std::optional<EngineEvent> apply(Happening& happening);
  std::optional<EngineEvent> deliver(EngineEvent event);
  void freeze_or_thaw(Host& host, const ContainerRef& ref, Kind kind);
  void come_up(Host& host, const std::string& id);
  void plan_life(Host& host, const std::string& id);
  void end(Host& host, const std::string& id, const Happening& happening);
  void end_leftover(Host& host);
  void plan_probe(ProbeId id, const Probe& probe, const Host& host);
  void obey_stop(Host& host, const std::string& id);
  Host* running(const ContainerRef& container);
  void end_probe_at(ProbeId id, Duration after, ProbeEnded end);

  Random random_;
  Faults faults_;
  Complain complain_;
  Now now_{};
  std::map<std::string, Host> hosts_;
  std::map<ProbeId, Probe> probes_;
  Probe ended_probe_;
  std::map<HookId, Instant> hooks_;
  std::priority_queue<Happening> timeline_;
  std::uint64_t epoch_ = 0;
  std::uint64_t last_life_ = 0;
  std::set<std::string> torn_;
  bool healed_ = false;
  std::uint64_t last_number_ = 0;
  int last_pid_ = 1000;
};

}  // namespace keepwell
