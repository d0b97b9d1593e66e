// One thing that happened, as the event stream, the journal, the hooks and `keepwell events` tell
// it: Docker's event vocabulary (health-and-exec-semantics.md 3.7).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/spec.h"
#include "config/time.h"

namespace keepwell {

// What the journal holds beside the events that everybody is told of.
enum class EventKind {
  event,
  result,    // a probe that ended ("probe"), where it says more than "still well"
  decision,  // why something was done, or was not: unhealthy, restart, suppressed, ...
  fact       // what came from outside: command, configure
};

struct Event {
  EventKind kind = EventKind::event;
  std::uint64_t sequence = 0;  // rises by one for each event of an agent, over its restarts
  std::uint64_t ordinal = 0;   // the same among the events of its container; 0 for a probe's
  WallTime at{};
  std::string action;  // start, die, stop, kill, pause, oom, "health_status: healthy",
                       // "exec_create: ls", ...
  std::string id;      // container
  std::string name;
  std::string project;
  int replica = 1;
  std::shared_ptr<const ServiceSpec> spec;  // image and labels
  std::vector<std::pair<std::string, std::string>>
      attributes;        // exitCode, signal, execID, reason, ...
  std::string incident;  // what it belongs to, 12 hex digits; empty: nothing went wrong
  bool probe =
      false;  // of a probe's exec: only shown where asked for by filter (execType=healthcheck)

  // The value of attribute KEY; empty where there is none.
  const std::string& attribute(std::string_view key) const {
    static const std::string kNone;
    for (const auto& [each, value] : attributes) {
      if (each == key) return value;
    }
    return kNone;
  }
};

}  // namespace keepwell
