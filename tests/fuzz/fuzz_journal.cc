// Any bytes as a journal: what is read from it is written and read back to the same event, and a
// good record behind any torn bytes is always found.
// Links: exporters
#include <cstdint>
#include <string>
#include <string_view>

#include "config/check.h"
#include "exporters/event_json.h"
#include "exporters/journal.h"

using namespace keepwell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);

  for (const Event& event : scan_journal(text).events) {
    const std::string line = journal_line(event);
    KW_CHECK(line.size() <= kJournalLineMax);
    const Result<Event> again = parse_journal_line(line);
    KW_CHECK(again.has_value());
    KW_CHECK(again->sequence == event.sequence && again->at == event.at);
    KW_CHECK(event_json(*again) == event_json(event));
  }

  Event marker;
  marker.sequence = 4711;
  marker.action = "start";
  const std::string record = journal_line(marker);
  const JournalScan behind = scan_journal(text + record);
  KW_CHECK(!behind.events.empty() && behind.events.back().sequence == 4711);
  (void)event_text_of_json(text);
  return 0;
}
