// Reads a container's stored log for one reader and, where that was asked for, goes on reading what
// is appended: over rotations, and no faster than the reader takes it. Nothing is kept in memory
// but one piece of 64 KiB. A follower that falls so far behind that files which it had not read
// were deleted is told so by a line in the stream of errors.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "exporters/log_line.h"
#include "runtime/file_watch.h"
#include "runtime/log_files.h"
#include "runtime/timer.h"

namespace keepwell {

class Loop;

class LogReader {
 public:
  struct Options {
    std::string path;
    LogQuery query;
    std::optional<std::uint64_t> tail;  // the last so many lines; none: all
    bool follow = false;
  };
  struct Handlers {
    // Takes what was read; false: no more until resume().
    std::function<bool(std::string_view)> on_bytes;
    std::function<void()> on_end;   // the last call; may destroy the reader
    std::function<void()> on_lost;  // a gap was told; for counting
  };

  // Reads nothing yet. Handlers are called from the loop only.
  LogReader(Loop& loop, Options options, Handlers handlers);
  LogReader(const LogReader&) = delete;
  LogReader& operator=(const LogReader&) = delete;
  ~LogReader();

  // Finds where to begin, and starts.
  void start();

  // The reader has room again.
  void resume();

  // The writer has ended: stop following once nothing more has come for a while.
  void finish();

 private:
  void find_start();
  void skip_to_tail(std::uint64_t lines);
  void pump();
  bool at_end_of_file();
  bool open_next();
  void tell_lost();
  void wait_for_more();
  void look();
  void end();
  void deliver(std::string_view bytes);

  Options options_;
  Handlers handlers_;
  LogSelector selector_;
  std::vector<LogFile> files_;  // oldest first; the first is being read
  std::uint64_t offset_ = 0;    // in the first
  std::string buffer_;
  bool blocked_ = false;
  bool finishing_ = false;
  bool ended_ = false;
  bool watching_ = false;  // the first of files_
  FileWatch watch_;
  Timer timer_;
  Timer quiet_;
};

}  // namespace keepwell
