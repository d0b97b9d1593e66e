#include "runtime/output_capture.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/loop.h"

namespace keepwell {

namespace {

// What one flooding process may take of a turn of the loop: at some GB/s of pipe this is below 0.1
// ms.
constexpr std::size_t kTurnBytesMax = 128 * 1024;

}  // namespace

Result<UniqueFd> OutputCapture::open(std::size_t keep_max, std::uint64_t flood_bytes,
                                     std::function<void()> on_flood) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("cannot make an output pipe");
  UniqueFd write_end(ends[1]);
  flood_bytes_ = flood_bytes;
  on_flood_ = std::move(on_flood);
  if (Status reading = read_from(UniqueFd(ends[0]), keep_max); !reading)
    return fail(reading.error());
  return write_end;
}

Status OutputCapture::read_from(UniqueFd read_end, std::size_t keep_max) {
  read_end_ = std::move(read_end);
  keep_max_ = keep_max;
  return watch_.start(read_end_.get(), {.readable = true, .hangup = true},
                      [this](Ready) { ready(); });
}

void OutputCapture::ready() {
  static char buffer[64 * 1024];  // one thread, and nothing is kept in it between calls
  for (std::size_t budget = kTurnBytesMax; budget > 0;) {
    ssize_t got = read(read_end_.get(), buffer, std::min(budget, sizeof buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      ended_ = true;
      watch_.stop();
      read_end_.reset();
      if (on_done_) done();
      return;
    }
    auto bytes = static_cast<std::size_t>(got);
    kept_.append(buffer, std::min(bytes, keep_max_ - kept_.size()));
    total_ += bytes;
    budget -= bytes;
    if (bytes < sizeof buffer) break;
  }
  if (flood_bytes_ > 0 && total_ > flood_bytes_ && on_flood_) std::exchange(on_flood_, nullptr)();
}

void OutputCapture::finish(Duration grace, std::function<void()> on_done) {
  on_done_ = std::move(on_done);
  grace_.start_after(ended_ || !read_end_ ? Duration{0} : grace, [this] { done(); });
}

void OutputCapture::done() {
  grace_.stop();
  watch_.stop();
  read_end_.reset();
  if (on_done_) std::exchange(on_done_, nullptr)();
}

}  // namespace keepwell
