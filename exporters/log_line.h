// Stored log lines, in the CRI format that the logger writes:
//   2026-11-24T20:00:00.123456789Z stdout F text        (P instead of F: the line goes on)
// and from them what `docker logs` sends: tail, since, until, timestamps, 8-byte frames. Pure: it
// is fed bytes, in whatever pieces they were read, and gives bytes; which file they come from, how
// it was rotated and when more arrives is the caller's business.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/result.h"
#include "config/time.h"

namespace keepwell {

enum class LogStream : std::uint8_t { out = 1, err = 2 };  // the numbers of Docker's frames

struct LogRecord {
  WallTime at{};
  LogStream stream = LogStream::out;
  bool partial = false;   // no newline behind it
  std::string_view text;  // without the newline; lives as long as what was parsed
};

// LINE without its newline. None for a line that was torn or is foreign.
std::optional<LogRecord> parse_log_line(std::string_view line);

// Docker's frame head: stream, three zeros, length big-endian. `stream` 3 is an error text.
void append_frame(std::string& out, std::uint8_t stream, std::string_view payload);

struct LogQuery {
  bool want_stdout = true;
  bool want_stderr = true;
  std::optional<WallTime> since, until;  // inclusive
  bool timestamps = false;
  bool framed = true;  // false: raw bytes, for a container with a tty
};

// Turns stored bytes, oldest first, into what the client is sent.
class LogSelector {
 public:
  explicit LogSelector(LogQuery query);

  // CHUNK continues where the last one ended, anywhere in a line. Appends to OUT. A stored line
  // longer than 64 KiB is torn: it is dropped and counted.
  void feed(std::string_view chunk, std::string& out);

  // The end of a file: a line without newline at its end is torn, and dropped.
  void end_of_file();

  // A record later than `until` was seen: nothing more will come.
  bool past_until() const { return past_until_; }
  std::uint64_t torn_lines() const { return torn_; }
  std::uint64_t records() const { return records_; }  // sent

 private:
  void take(std::string_view line, std::string& out);

  LogQuery query_;
  std::string rest_;       // of a line whose end has not come
  bool skipping_ = false;  // within a line that is too long
  bool inside_[3] = {};    // by stream: the last record sent was partial
  bool past_until_ = false;
  std::uint64_t torn_ = 0;
  std::uint64_t records_ = 0;
};

// Where the last N lines start, found from the end backwards so that a large log is not read
// whole. A line in several partial records counts once; both streams count, whatever is asked for.
class TailFinder {
 public:
  explicit TailFinder(std::uint64_t lines);

  // CHUNK lies directly before the previous one (the newest file's last bytes come first; an older
  // file's end counts as directly before the newer one's start). True once the start is known, then
  // and ever after; if the log's very beginning was fed and it is still false, the whole log is it.
  bool feed_backwards(std::string_view chunk);

  // How many bytes before the end of all that was fed first the tail begins.
  // REQUIRES: feed_backwards() returned true.
  std::uint64_t bytes_from_end() const { return bytes_from_end_; }

 private:
  void take_line(std::string_view head, std::uint64_t start_from_end);

  std::uint64_t wanted_;
  std::uint64_t seen_ = 0;  // whole lines
  std::uint64_t fed_ = 0;   // bytes
  std::uint64_t bytes_from_end_ = 0;
  std::string next_;  // the first bytes behind the coming chunk: a line's head may reach over
  bool found_ = false;
};

}  // namespace keepwell
