// Reads what a process writes and keeps the beginning of it: the first bytes up to a limit, as they
// arrive; the rest is counted and dropped. A program that floods costs a fixed amount of time per
// turn of the loop, and is reported once it has written more than anybody could want. The end of
// file is no event of interest: a child that went to the background may hold the pipe open for
// ever, so the owner calls finish() when the process itself has ended.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "config/result.h"
#include "runtime/fd_watch.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class OutputCapture {
 public:
  explicit OutputCapture(Loop& loop) : watch_(loop), grace_(loop) {}

  // Makes the pipe, begins to read, and returns its write end. Keeps KEEP_MAX bytes; ON_FLOOD is
  // called once when more than FLOOD_BYTES came (0: never). Fails where there are no descriptors
  // left; then nothing is captured.
  Result<UniqueFd> open(std::size_t keep_max, std::uint64_t flood_bytes = 0,
                        std::function<void()> on_flood = {});

  // The same for a pipe that somebody else made.
  Status read_from(UniqueFd read_end, std::size_t keep_max);

  // Calls ON_DONE once from the loop, never from inside: at the end of file, or after GRACE.
  void finish(Duration grace, std::function<void()> on_done);

  const std::string& kept() const { return kept_; }
  std::string take() { return std::move(kept_); }
  std::uint64_t total_bytes() const { return total_; }
  bool ended() const { return ended_; }

 private:
  void ready();
  void done();

  FdWatch watch_;
  Timer grace_;
  UniqueFd read_end_;
  std::size_t keep_max_ = 0;
  std::uint64_t flood_bytes_ = 0;
  std::function<void()> on_flood_, on_done_;
  std::string kept_;
  std::uint64_t total_ = 0;
  bool ended_ = false;
};

}  // namespace keepwell
