// Any bytes as a stored log: however they are cut into pieces, the selector gives the same; frames
// are whole; and the tail's start is the same for every size of backward step, at a line's start.
// The first three bytes choose the query, the size of the pieces and the length of the tail.
// Links: exporters
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "config/check.h"
#include "exporters/log_line.h"

using namespace keepwell;

namespace {

std::string select(const LogQuery& query, std::string_view log, std::size_t step) {
  LogSelector selector(query);
  std::string out;
  while (!log.empty()) {
    const std::size_t size = std::min(step, log.size());
    selector.feed(log.substr(0, size), out);
    log.remove_prefix(size);
  }
  selector.end_of_file();
  return out;
}

std::uint64_t tail(std::uint64_t lines, std::string_view log, std::size_t step) {
  TailFinder finder(lines);
  const std::size_t whole = log.size();
  while (!log.empty()) {
    const std::size_t size = std::min(step, log.size());
    if (finder.feed_backwards(log.substr(log.size() - size))) return finder.bytes_from_end();
    log.remove_suffix(size);
  }
  return whole;
}

void check_frames(std::string_view out) {
  while (!out.empty()) {
    KW_CHECK(out.size() >= 8 && (out[0] == 1 || out[0] == 2));
    std::size_t size = 0;
    for (std::size_t i = 4; i < 8; ++i) size = size << 8 | static_cast<unsigned char>(out[i]);
    KW_CHECK(out.size() >= 8 + size);
    out.remove_prefix(8 + size);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  LogQuery query;
  query.want_stdout = (data[0] & 1) != 0;
  query.want_stderr = (data[0] & 2) != 0;
  query.timestamps = (data[0] & 4) != 0;
  query.framed = (data[0] & 8) != 0;
  if ((data[0] & 16) != 0) query.since = WallTime{std::chrono::seconds(1795550402)};
  if ((data[0] & 32) != 0) query.until = WallTime{std::chrono::seconds(1795550404)};
  const std::size_t step = 1 + data[1];
  const std::uint64_t lines = data[2] % 8;
  const std::string_view log(reinterpret_cast<const char*>(data) + 3, size - 3);

  const std::string whole = select(query, log, log.size() + 1);
  KW_CHECK(select(query, log, step) == whole);
  if (query.framed) check_frames(whole);

  const std::uint64_t from_end = tail(lines, log, log.size() + 1);
  KW_CHECK(tail(lines, log, step) == from_end);
  KW_CHECK(from_end <= log.size());
  if (from_end > 0 && from_end < log.size()) KW_CHECK(log[log.size() - from_end - 1] == '\n');
  return 0;
}
