// One thing that happened, as the event stream, the journal, the hooks and `keepwell events` tell
// it: Docker's event vocabulary (health-and-exec-semantics.md 3.7).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/spec.h"
#include "config/time.h"

namespace keepwell {

struct Event {
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
      attributes;  // exitCode, signal, execID, reason, ...
  bool probe =
      false;  // of a probe's exec: only shown where asked for by filter (execType=healthcheck)
};

}  // namespace keepwell
