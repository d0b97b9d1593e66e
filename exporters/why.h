// What `keepwell why` says: the chain of each incident, put together from the records of the
// journal that carry its id. Pure: records in, steps and text out.
#pragma once

#include <string>
#include <vector>

#include "exporters/event.h"

namespace keepwell {

// One thing that happened, or was decided, in words: "healthcheck failed with 1 (1 of 3): refused".
struct WhyStep {
  WallTime at{};
  EventKind kind = EventKind::event;
  std::string text;
};

struct WhyIncident {
  std::string id;
  std::string name;  // container
  std::string service;
  std::string outcome;  // "restarted: unhealthy", "recovered by itself", "gave up", "open"
  std::string detail;   // what the decision gave as its reason
  bool restarted = false;
  std::vector<WhyStep> steps;  // in the order of the journal
  // What the chain of a restart should hold and this one does not; empty: complete. Only a restart
  // that has come up again is judged.
  std::vector<std::string> missing;
};

// RECORDS in the journal's order, of any number of containers. Oldest incident first.
std::vector<WhyIncident> why_incidents(const std::vector<Event>& records);

// For people: a title, and one line a step.
std::string why_text(const WhyIncident& incident, int utc_offset_seconds);

// One object on one line, without a newline.
std::string why_json(const WhyIncident& incident);

// EVENT in words, as a step of `why` and as a line of `simulate`.
std::string step_text(const Event& event);

}  // namespace keepwell
