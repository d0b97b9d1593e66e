#include "agent/http/tunnel.h"

#include <utility>

#include "runtime/socket_state.h"

namespace keepwell {
namespace {

constexpr std::size_t kHeldBytesMax = 64 * 1024;
// Whether the client has read the head is asked in the first turns of the loop at once, then each
// millisecond, 100 at most.
constexpr int kHoldSpins = 20;
constexpr int kHoldChecksMax = kHoldSpins + 100;
constexpr Duration kVanishCheck = std::chrono::milliseconds(250);

}  // namespace

Tunnel::Tunnel(Loop& loop, Stream& stream, std::string ahead, Handlers handlers)
    : stream_(stream),
      handlers_(std::move(handlers)),
      ahead_(std::move(ahead)),
      soon_(loop),
      hold_(loop),
      vanish_(loop) {
  soon_.start_after(Duration(0), [this] { deliver(); });
}

// ---- from the client

void Tunnel::received(std::string_view bytes) {
  if (passes_on()) {
    handlers_.on_data(bytes);
  } else {
    ahead_.append(bytes);
    stream_.pause_reading();
  }
}

void Tunnel::peer_ended() {
  peer_ended_ = true;
  watch_vanishing();
  if (ahead_.empty() && !reading_paused_) deliver();
}

void Tunnel::pause_reading() {
  reading_paused_ = true;
  stream_.pause_reading();
}

void Tunnel::resume_reading() {
  if (!std::exchange(reading_paused_, false)) return;
  soon_.start_after(Duration(0), [this] { deliver(); });
}

void Tunnel::deliver() {
  if (stopped_ || reading_paused_) return;
  if (!ahead_.empty()) {
    const std::string bytes = std::move(ahead_);
    ahead_.clear();
    handlers_.on_data(bytes);
  }
  if (stopped_ || reading_paused_) return;
  if (!peer_ended_) {
    stream_.resume_reading();
  } else if (!std::exchange(end_told_, true)) {
    handlers_.on_end();
  }
}

// After a half-close the end of a client shows neither in reading nor, while nothing is written, in
// writing: ask now and then.
void Tunnel::watch_vanishing() {
  vanish_.start_after(kVanishCheck, [this] {
    if (peer_has_closed(stream_.fd())) {
      handlers_.on_vanished();
    } else {
      watch_vanishing();
    }
  });
}

// ---- to the client

bool Tunnel::head_was_read() const {
  return stream_.queued() == 0 && peer_has_read_all(stream_.fd());
}

void Tunnel::release_later() {
  const Duration pause =
      ++hold_checks_ < kHoldSpins ? Duration(0) : Duration(std::chrono::milliseconds(1));
  hold_.start_after(pause, [this] {
    if (!head_was_read() && hold_checks_ < kHoldChecksMax) return release_later();
    const bool full = held_.size() >= kHeldBytesMax;
    release();
    if (ended_) {
      handlers_.on_finished();
    } else if (full && stream_.queued() == 0) {
      handlers_.on_drained();
    }
  });
}

void Tunnel::release() {
  holding_ = false;
  const std::string held = std::move(held_);
  held_.clear();
  stream_.write(held);
}

bool Tunnel::write(std::string_view bytes) {
  if (ended_) return true;
  if (holding_ && held_.empty() && head_was_read()) release();
  if (!holding_) return stream_.write(bytes);
  held_.append(bytes);
  if (!hold_.armed()) release_later();
  return held_.size() < kHeldBytesMax;
}

void Tunnel::end() {
  if (std::exchange(ended_, true) || !held_.empty()) return;
  handlers_.on_finished();
}

void Tunnel::stop() {
  stopped_ = true;
  soon_.stop();
  hold_.stop();
  vanish_.stop();
}

}  // namespace keepwell
