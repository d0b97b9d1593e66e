// What goes into the Supervisor and what comes out. Inputs are facts (something happened) or
// commands (somebody asks); actions are orders to the shell. The simulator uses exactly these.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/result.h"
#include "config/spec.h"
#include "exporters/container_status.h"
#include "exporters/event.h"
#include "runtime/engine.h"

namespace keepwell {

// ---- inputs

// Time has passed; the driver sends it when next_deadline() is reached.
struct Tick {};

// Somebody asks for something. `request` is answered by exactly one Action::Reply, when the thing
// is done (a stop: when the container has ended) or refused; 0: nobody waits. `container` is a full
// id.
struct Command {
  enum class Kind {
    start,
    stop,
    restart,
    kill,
    pause,
    unpause,
    probe_now,
    pause_check,
    resume_check,
    hold,
    release
  };
  Kind kind = Kind::start;
  std::uint64_t request = 0;
  std::string container;
  int signal = 0;  // kill; stop: 0 is the service's own
  std::optional<Duration>
      grace;             // stop, restart: none is the service's own; negative is without end
  std::string check;     // probe_now, pause_check, resume_check; empty: all
  Duration hold_for{0};  // hold
  std::string reason{};  // hold
};

// A new accepted configuration. Containers that it no longer names are stopped and removed; those
// whose launch settings changed are recreated; the rest is changed in place. The first one starts
// what is to be started.
struct Configure {
  std::shared_ptr<const ProjectSpec> project;
};

// What Capture asked for has been done, or its time is over.
struct Captured {
  std::string container;
  std::string incident;
  std::string detail;  // "9 files, 48 kB in 151ms", or what went wrong
};

// The order to send this signal had no effect: it could not be delivered.
struct SignalFailed {
  ContainerRef container;
  int signal = 0;
};

// keepwell is to end: stop everything in reverse order of dependency, then emit Action::AllStopped.
// Sent twice, the second one kills at once.
struct Shutdown {};

// The machine was suspended: the clock of our deadlines stood still, the world did not. What was in
// flight says nothing.
struct Suspended {};

using Input = std::variant<Tick, EngineEvent, Command, Configure, Captured, SignalFailed, Shutdown,
                           Suspended>;

// ---- what a death of the agent leaves besides the records

// An event that an earlier agent has told, and its place among those of its container.
struct ToldEvent {
  std::string id;
  std::string name;
  std::uint64_t ordinal = 0;
  std::string action;
};

// ---- actions

struct StartContainer {
  StartOrder order;
};
struct AdoptContainer {
  AdoptOrder order;
};
struct SignalContainer {
  ContainerRef container;
  int signal = 0;
};
struct KillContainer {
  ContainerRef container;
};
struct PauseContainer {
  ContainerRef container;
};
struct ResumeContainer {
  ContainerRef container;
};
struct RemoveContainer {
  std::string id;
};
struct StartProbe {
  ProbeOrder order;
};
struct KillProbe {
  ProbeId probe = 0;
};
struct RunHook {
  HookOrder order;
};
// A webhook is on its way from here on; nobody waits for it.
struct SendWebhook {
  std::shared_ptr<const ActionSpec> action;
  std::string body;
};
struct Emit {
  Event event;
};
// Save the evidence of INCIDENT before it is gone. Answered by one Captured; what follows waits for
// that where the container still runs.
struct Capture {
  ContainerRef container;
  std::string incident;
  std::string cause;   // why the container is restarted
  bool alive = false;  // it still runs
};
// For the journal alone; its kind is not `event`.
struct Record {
  Event event;
};
struct Reply {
  std::uint64_t request = 0;
  Status result;  // an Errc::conflict whose text is empty means "nothing to do" (HTTP 304)
};
// The stored record of this container is out of date. `status`: its small JSON (a change of state);
// else only what changes with every probe.
struct Save {
  std::string id;
  bool status = true;
};
struct Forget {
  std::string id;
};  // its stored record
struct AllStopped {};

using Action =
    std::variant<StartContainer, AdoptContainer, SignalContainer, KillContainer, PauseContainer,
                 ResumeContainer, RemoveContainer, StartProbe, KillProbe, RunHook, SendWebhook,
                 Capture, Emit, Record, Reply, Save, Forget, AllStopped>;

}  // namespace keepwell
