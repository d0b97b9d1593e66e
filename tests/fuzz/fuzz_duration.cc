// Any text as a duration and as a size: no crash, and what is accepted is printed and read back to
// the same value.
// Links: config
#include <cstdint>
#include <string_view>

#include "config/bytes.h"
#include "config/check.h"
#include "config/duration.h"

using namespace keepwell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (Result<Duration> duration = parse_duration(text)) {
    KW_CHECK(duration->count() >= 0);
    KW_CHECK(parse_duration(format_duration(*duration)).value() == *duration);
  }
  if (Result<std::int64_t> bytes = parse_bytes(text)) {
    KW_CHECK(*bytes >= 0);
    KW_CHECK(parse_bytes(format_bytes(*bytes)).value() == *bytes);
  }
  return 0;
}
