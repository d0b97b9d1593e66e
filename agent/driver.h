// The shell around the Supervisor: stamps each input with the time, hands it over, and performs
// the actions that come back, in their order: orders to the Engine, answers to callers, events to
// the bus and the log, records to the state store. Arms the one timer of the agent.
//
// Inputs that arrive while actions are being performed wait for their turn, so the Supervisor never
// sees itself. submit() has performed everything when it returns to the loop: an engine may
// acknowledge an exit once its event was taken.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/save_pacer.h"
#include "agent/supervisor.h"
#include "agent/supervisor_io.h"
#include "config/result.h"
#include "exporters/agent_stats.h"
#include "runtime/engine.h"
#include "runtime/timer.h"

namespace keepwell {

class EventBus;
class Journal;
class Loop;
class StateStore;
class WebhookSender;

class Driver {
 public:
  struct Parts {  // all outlive the driver
    Loop* loop = nullptr;
    Engine* engine = nullptr;
    StateStore* store = nullptr;
    EventBus* events = nullptr;
    Journal* journal = nullptr;
    AgentStats* stats = nullptr;
    // Saves evidence; answered by a Captured, later.
    std::function<void(const Capture&, const ContainerStatus&)> capture;
    WebhookSender* webhooks = nullptr;
  };

  // SEED: see Supervisor. ON_ALL_STOPPED is called after a Shutdown has been carried out.
  Driver(Parts parts, std::uint64_t seed, std::function<void()> on_all_stopped);
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  // Takes up what the store holds, and knows what an earlier agent had told. REQUIRES: called once,
  // before anything is submitted.
  void restore();

  void submit(Input input);

  // COMMAND with a request number of its own; ON_DONE is called exactly once, from the loop.
  void submit(Command command, std::function<void(Status)> on_done);

  const Supervisor& supervisor() const { return supervisor_; }

  // Whether every container that an earlier agent left has been found or found gone.
  bool adopting() const { return !adoptions_.empty(); }

  // Writes all records; for the end of the agent.
  void save_all();

 private:
  void arm_save_again();
  void save_again();
  void drain();
  void perform(std::vector<Action>& actions);
  void arm();
  void due(Instant deadline);
  void write_down(const Event& event);
  void hand_over(const Input& input);
  void count_hook(const HookEnded& ended);
  void tell_fault(const ProbeEnded& ended);
  void save(const std::string& id, bool status);
  void save_put_off();

  void act(StartContainer& action);
  void act(AdoptContainer& action);
  void act(SignalContainer& action);
  void act(KillContainer& action);
  void act(PauseContainer& action);
  void act(ResumeContainer& action);
  void act(RemoveContainer& action);
  void act(StartProbe& action);
  void act(KillProbe& action);
  void act(RunHook& action);
  void act(SendWebhook& action);
  void act(Emit& action);
  void act(Capture& action);
  void act(Record& action);
  void act(Reply& action);
  void act(Save& action);
  void act(Forget& action);
  void act(AllStopped& action);

  Parts parts_;
  Supervisor supervisor_;
  Timer timer_;
  Timer replies_;
  Timer save_again_;
  Timer saves_;
  SavePacer pacer_;
  std::function<void()> on_all_stopped_;
  std::deque<Input> inputs_;
  bool draining_ = false;
  Now now_{};
  Duration suspended_;                           // Loop::suspended() as last seen
  std::optional<Instant> fault_told_;            // see kFaultsToldEvery
  std::map<HookId, std::string> running_hooks_;  // by name, for the counters
  std::uint64_t last_request_ = 0;
  std::map<std::uint64_t, std::function<void(Status)>> waiting_;
  std::vector<std::pair<std::function<void(Status)>, Status>> due_replies_;
  std::map<std::string, std::uint64_t> adoptions_;  // id -> run, not yet answered
};

}  // namespace keepwell
