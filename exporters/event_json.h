// Events as Docker's clients read them (health-and-exec-semantics.md 3.7): the JSON object, the
// line that docker events prints, and the filters.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "exporters/event.h"
#include "exporters/filters.h"

namespace keepwell {

// Actor.Attributes: labels, then image and name, then the event's own (which win).
std::map<std::string, std::string> event_attributes(const Event& event);

// One object, compact, without a newline; with the legacy keys status, id and from.
std::string event_json(const Event& event);

// "2026-11-24T20:00:00.000000000Z container start <id> (image=bb, name=web)" from an object that
// the API sent. Control characters are shown as \xNN: the line goes to a terminal. Errc::invalid if
// it is not an event.
Result<std::string> event_text_of_json(std::string_view line, int utc_offset_seconds = 0);

// Whether FILTERS let EVENT through. Keys: type, event, container, image, label; further
// execType=healthcheck, which shows the events of probes and nothing else; without it they are left
// out. Other keys are ignored.
bool matches(const Filters& filters, const Event& event);

}  // namespace keepwell
