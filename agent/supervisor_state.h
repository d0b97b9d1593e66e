// What the Supervisor knows of a container beyond its ContainerStatus: what need not, or cannot,
// outlive the agent. Included by supervisor*.cc alone.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/supervisor.h"
#include "probes/health_tracker.h"

namespace keepwell {

// Somebody who waits for a command. Kinds are bits, so that one call can answer several.
struct Supervisor::Waiter {
  static constexpr std::uint32_t kStarted = 1;  // start, restart
  static constexpr std::uint32_t kEnded = 2;    // stop, kill
  static constexpr std::uint32_t kPaused = 4;
  static constexpr std::uint32_t kResumed = 8;

  std::uint32_t kind = 0;
  std::uint64_t request = 0;
};

// Beside status.checks, with the same index. `slot` is what names it to timers and flights, since
// the index changes with a reload.
struct Supervisor::CheckRun {
  std::uint32_t slot = 0;
  HealthTracker tracker;
  ProbeId probe = 0;   // in flight; 0: none
  bool due = false;    // due, and held up: by a probe in flight or by probes_at_once
  bool acted = false;  // its being unhealthy has been answered in this run
  Instant due_at{};
  Duration phase_left{0};              // by which the wait after the first probe is shortened
  std::size_t next_action = 0;         // of spec->actions
  HookId hook = 0;                     // that on_unhealthy's word waits for; 0: none
  int excused_streak = 0;              // failures up to here are a dependency's fault; 0: none are
  std::vector<std::uint64_t> waiters;  // of probe_now
  int held_in_row = 0;                 // timeouts that the pressure guard held
  std::uint64_t quiet_passes = 0;      // successes that no record of the journal has told of
  Duration quiet_time{0};              // what they took together
};

struct Supervisor::Container {
  std::uint32_t serial = 0;
  ContainerStatus status;
  std::vector<CheckRun> checks;
  std::vector<Waiter> waiters;
  std::map<std::uint64_t, std::string> told;  // by an earlier agent, and not in what it saved
  bool news_unsaved = false;   // it has told something that its record does not know of
  std::uint64_t saved_in = 0;  // the last input whose actions save all of it

  bool surplus = false;        // the configuration has no place for it
  bool want_start = false;     // to be started as soon as its dependencies are ready
  bool order_open = false;     // a start or an adoption that is not answered yet
  bool adopting = false;       // with order_open: an adoption
  bool start_by_hand = false;  // with order_open: somebody asked for it
  bool frozen = false;         // paused, whatever the state says (a stop of a paused one)
  bool pausing = false;
  bool resuming = false;
  bool oom_told = false;                // in this run
  bool capturing = false;               // it is ended as soon as its evidence is saved
  bool kill_then = false;               // with capturing: by SIGKILL, without its stop signal
  std::string captured;                 // the incident whose evidence was asked for last
  bool capture_open = false;            // that is not answered yet
  Instant captured_at{};                // when it was
  std::optional<Instant> budget_asked;  // it waits for the host's budget since
  int budget_tries = 0;  // restarts that the budget granted since it was healthy last

  // Of the stop in progress.
  int stop_signal = 0;                 // 0: it was an earlier agent that began it
  std::optional<Duration> stop_grace;  // none: without end
  Instant stop_began{};

  const ServiceSpec& spec() const { return *status.spec; }
  const std::string& service() const { return status.spec->name; }
  ContainerRef ref() const { return {.id = status.id, .run = status.run}; }

  // There is, or may be, a process.
  bool live() const {
    switch (status.state) {
      case ServiceState::starting:
      case ServiceState::running:
      case ServiceState::paused:
      case ServiceState::stopping:
      case ServiceState::restarting:
        return true;
      case ServiceState::created:
      case ServiceState::backoff:
      case ServiceState::exited:
      case ServiceState::failed:
        return false;
    }
    return false;
  }

  std::size_t check_of_slot(std::uint32_t slot) const {
    for (std::size_t i = 0; i < checks.size(); ++i) {
      if (checks[i].slot == slot) return i;
    }
    return checks.size();
  }
};

// A hook from its order to its end.
struct Supervisor::HookRun {
  std::uint32_t serial = 0;
  std::uint32_t slot = 0;
  std::uint64_t run = 0;
  std::string name;
  std::string capture;  // no hook: the evidence of this incident
};

// A probe from its order to its end.
struct Supervisor::Flight {
  std::uint32_t serial = 0;
  std::uint32_t slot = 0;
  std::uint64_t run = 0;
  Instant ordered{};
  WallTime ordered_wall{};
  Instant due{};
  std::optional<Instant> started;
  WallTime started_wall{};
  Duration timeout{};
  bool timed_out = false;
  bool guard_expired = false;
  bool voided = false;
  Duration lateness{0};    // with which its timeout was noticed; 0: it was not, or in time
  bool unwatched = false;  // nobody looked for longer than kLateTimeout
};

}  // namespace keepwell
