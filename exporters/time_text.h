// Times and durations as text, the way Go programs write and read them, since clients compare.
// Durations in Go syntax ("1m30s") are config/duration.h's business.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "config/result.h"
#include "config/time.h"

namespace keepwell {

inline constexpr const char* kZeroTimeText = "0001-01-01T00:00:00Z";  // Go's zero time: never

// "2026-11-24T20:00:00.1234Z": Go's RFC3339Nano, trailing zeros of the fraction dropped.
std::string rfc3339_nano(WallTime at, int utc_offset_seconds = 0);
// kZeroTimeText for none.
std::string rfc3339_nano(const std::optional<WallTime>& at);
// "2026-11-24T20:00:00.123400000Z": always nine digits, as in logs and events.
std::string rfc3339_nano_fixed(WallTime at, int utc_offset_seconds = 0);
// "2026-11-24 20:00:00 +0000 UTC": CreatedAt of docker ps. ZONE is what stands at the end.
std::string ps_time(WallTime at, int utc_offset_seconds = 0, std::string_view zone = "UTC");

// RFC 3339 with any fraction and offset; a date alone or without zone (UTC is then meant) too.
Result<WallTime> parse_rfc3339(std::string_view text);
// "1764014400" or "1764014400.123456789" (a short fraction is padded on the right): since and until
// of the API. Negative seconds are allowed.
Result<WallTime> parse_unix_time(std::string_view text);
// since and until of the command line: either of the above, or a Go duration before NOW ("10m").
Result<WallTime> parse_time_argument(std::string_view text, WallTime now);

std::int64_t unix_seconds(WallTime at);  // rounded down
std::int64_t unix_nanos(WallTime at);

// go-units: "Less than a second", "5 seconds", "About a minute", "3 weeks". Negative is as zero.
std::string human_duration(Duration duration);
// go-units HumanSizeWithPrecision(3), base 1000: "0B", "1.2kB", "34.5MB".
std::string human_size(std::uint64_t bytes);

}  // namespace keepwell
