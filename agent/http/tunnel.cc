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
      vanish_(loop) {
  release_held();
}

// ---- from the client

void Tunnel::received(std::string_view bytes) {
  if (!ahead_.empty() || reading_paused_) {
    ahead_.append(bytes);
    stream_.pause_reading();
  } else {
    handlers_.on_data(bytes);
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
  if (!std::exchange(reading_paused_, false) || holding_) return;  // release_held() goes on
  soon_.start_after(Duration(0), [this] { deliver(); });
}

void Tunnel::deliver() {
  if (stopped_ || reading_paused_ || holding_) return;
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

void Tunnel::release_held() {
  const bool read = stream_.queued() == 0 && peer_has_read_all(stream_.fd());
  const bool enough = ++hold_checks_ > kHoldChecksMax;
  if (hold_checks_ == 1 || (!read && !enough)) {
    const Duration pause =
        hold_checks_ < kHoldSpins ? Duration(0) : Duration(std::chrono::milliseconds(1));
    soon_.start_after(pause, [this] { release_held(); });
    return;
  }
  holding_ = false;
  const std::string held = std::move(held_);
  held_.clear();
  const bool full = held.size() >= kHeldBytesMax;
  stream_.write(held);
  if (ended_) {
    handlers_.on_finished();
    return;
  }
  if (full && stream_.queued() == 0) handlers_.on_drained();
  deliver();
}

bool Tunnel::write(std::string_view bytes) {
  if (ended_) return true;
  if (!holding_) return stream_.write(bytes);
  held_.append(bytes);
  return held_.size() < kHeldBytesMax;
}

void Tunnel::end() {
  if (std::exchange(ended_, true) || holding_) return;
  handlers_.on_finished();
}

void Tunnel::stop() {
  stopped_ = true;
  soon_.stop();
  vanish_.stop();
}

}  // namespace keepwell
