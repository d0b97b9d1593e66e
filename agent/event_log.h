// The last events on disk, so that `events --since` still knows after the agent's death what was
// told before it. One JSON object a line, appended before anybody is told, without fsync; a line
// that was torn is left out when read. When the file has kEventHistoryMax lines, it becomes the old
// one and a new one begins. Lines that the disk does not take are appended with the next one that
// it takes.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "config/result.h"
#include "exporters/event.h"

namespace keepwell {

class EventLog {
 public:
  // Files DIR/events.log and DIR/events.log.old.
  explicit EventLog(std::string dir);

  // Fails once when the disk begins to refuse, not with each event.
  Status append(const Event& event);
  std::uint64_t write_failures() const { return write_failures_; }

  // Begins a new file with EVENTS, for a directory that was emptied.
  Status rewrite(const std::deque<Event>& events);

  // Oldest first; lines that cannot be read are left out. Labels and image come back, the rest of
  // each event's spec does not.
  std::deque<Event> load();

 private:
  Status write_waiting(bool after_failure);

  std::string path_;
  std::size_t lines_ = 0;
  std::deque<std::string> waiting_;  // what the disk did not take
  std::uint64_t write_failures_ = 0;
};

}  // namespace keepwell
