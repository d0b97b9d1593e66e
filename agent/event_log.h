// The last events on disk, so that `events --since` still knows after the agent's death what was
// told before it. One JSON object a line, appended before anybody is told, without fsync; a line
// that was torn is left out when read. When the file has kEventHistoryMax lines, it becomes the old
// one and a new one begins.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "config/result.h"
#include "exporters/event.h"

namespace keepwell {

class EventLog {
 public:
  // Files DIR/events.log and DIR/events.log.old.
  explicit EventLog(std::string dir);

  Status append(const Event& event);

  // Oldest first; lines that cannot be read are left out. Labels and image come back, the rest of
  // each event's spec does not.
  std::deque<Event> load();

 private:
  std::string path_;
  std::size_t lines_ = 0;
};

}  // namespace keepwell
