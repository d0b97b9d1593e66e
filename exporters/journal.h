// The journal: every event, every probe result that says something new, every decision and every
// command as one line of JSON, appended, so that `events --since`, `why` and `simulate` can look
// back further than the agent's memory. A record starts with {"v":1 and ends
// with a newline. That start can appear nowhere inside a record (all values further in are strings,
// and JSON escapes the quotes of a string), so that a record torn by a crash never swallows the one
// appended behind it. Records of a newer
// version are skipped and counted, unknown keys ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "exporters/event.h"

namespace keepwell {

inline constexpr int kJournalVersion = 1;
inline constexpr std::size_t kJournalLineMax = 65536;

// With its newline, and valid UTF-8. At most kJournalLineMax bytes: longer attribute values are
// cut, marked "...".
std::string journal_line(const Event& event);

// LINE with or without its newline; bytes of a torn record in front are passed over. The event's
// spec is a small one of name, image and labels. Errc::invalid for anything torn or foreign,
// Errc::unsupported for a newer version.
Result<Event> parse_journal_line(std::string_view line);

// What is asked of LINE without parsing all of it; for passing over most of a large file.
std::optional<WallTime> journal_line_time(std::string_view line);

struct JournalScan {
  std::vector<Event> events;  // in file order
  std::uint64_t torn = 0;     // lines that were not, or not only, a readable record
  std::uint64_t newer = 0;    // records of a newer version
};

// A whole file, or its tail from any byte on.
JournalScan scan_journal(std::string_view text);

}  // namespace keepwell
