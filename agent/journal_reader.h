// Reads the journal from its oldest record to its present end, a piece at each turn of the loop and
// no faster than the reader takes it: some hundred megabytes must not hold the agent up.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/time.h"
#include "runtime/log_files.h"
#include "runtime/timer.h"

namespace keepwell {

class Loop;

class JournalReader {
 public:
  struct Handlers {
    // One line, without its newline; false: no more until resume().
    std::function<bool(std::string_view line)> on_line;
    // Everything up to now was read, in this very turn of the loop. The last call; may destroy the
    // reader.
    std::function<void()> on_end;
  };

  // SINCE: lines that are older are passed over.
  JournalReader(Loop& loop, std::string path, std::optional<WallTime> since, Handlers handlers);
  JournalReader(const JournalReader&) = delete;
  JournalReader& operator=(const JournalReader&) = delete;

  void start();
  void resume();

 private:
  void pump();
  void take(std::string_view bytes);

  std::string path_;
  std::optional<WallTime> since_;
  Handlers handlers_;
  Timer timer_;
  std::vector<LogFile> files_;  // oldest first; the first is being read
  std::uint64_t offset_ = 0;
  std::string buffer_;
  std::string rest_;  // of a line whose end has not come
  bool blocked_ = false;
};

}  // namespace keepwell
