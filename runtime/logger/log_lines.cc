#include "runtime/logger/log_lines.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

namespace keepwell {

std::string rfc3339_nanos(std::int64_t wall_ns) {
  auto seconds = static_cast<std::time_t>(wall_ns / 1'000'000'000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 64> text{};
  std::size_t n = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text.data() + n, text.size() - n, ".%09dZ",
                static_cast<int>(wall_ns % 1'000'000'000));
  return text.data();
}

LogBatch make_lines(std::string_view raw, std::string_view stream, std::int64_t wall_ns,
                    bool take_all, std::size_t text_bytes_max) {
  LogBatch batch;
  std::string prefix = rfc3339_nanos(wall_ns) + ' ' + std::string(stream);
  std::string_view rest = raw;
  while (!rest.empty()) {
    std::size_t newline = rest.substr(0, kLinePartBytes + 1).find('\n');
    bool whole = newline != std::string_view::npos;
    if (!whole && rest.size() <= kLinePartBytes && !take_all) break;
    std::string_view line = rest.substr(0, whole ? newline : std::min(rest.size(), kLinePartBytes));
    std::size_t grown = batch.text.size() + prefix.size() + 4 + line.size();
    if (batch.lines > 0 && grown > text_bytes_max) break;
    batch.text.append(prefix).append(whole ? " F " : " P ").append(line).push_back('\n');
    ++batch.lines;
    rest.remove_prefix(line.size() + (whole ? 1 : 0));
  }
  batch.raw_bytes = raw.size() - rest.size();
  return batch;
}

}  // namespace keepwell
