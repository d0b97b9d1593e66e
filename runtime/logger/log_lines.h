// From raw output to CRI log lines: "2026-11-24T20:00:00.123456789Z stdout F text". F ends a line
// of the program; P is a part without an end, of a line longer than 16 KiB or cut off by the
// stream's end. So the output can be had back byte for byte. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace keepwell {

inline constexpr std::size_t kLinePartBytes = 16 * 1024;

struct LogBatch {
  std::string text;           // what to append to the log
  std::size_t raw_bytes = 0;  // how much of the input it is
  std::uint64_t lines = 0;
};

// The whole lines at the beginning of RAW, and parts where a line is too long. The rest is left for
// when its end has come, unless TAKE_ALL. Stops before the text would grow past TEXT_BYTES_MAX, but
// not before the first line.
LogBatch make_lines(std::string_view raw, std::string_view stream, std::int64_t wall_ns,
                    bool take_all, std::size_t text_bytes_max);

// "2026-11-24T20:00:00.123456789Z"
std::string rfc3339_nanos(std::int64_t wall_ns);

}  // namespace keepwell
