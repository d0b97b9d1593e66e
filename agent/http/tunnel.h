// What a connection is once it was hijacked: raw bytes both ways. Internal to agent/http;
// Connection owns one from then on.
//
//   client --> [ahead] --> on_data ... on_end          ahead: came right behind the request
//   client <-- [held] <-- write()  ... end()           held: until the head of the 101 was read
//
// Output waits until the client has taken the head out of its socket (at most 100 ms): docker-py
// reads the head through a buffered reader and loses what came with it. Mostly it has by the time
// that there is output.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "runtime/stream.h"
#include "runtime/timer.h"

namespace keepwell {

class Loop;

class Tunnel {
 public:
  struct Handlers {
    std::function<void(std::string_view)> on_data;
    std::function<void()> on_end;       // no more on_data: the client half-closed; once
    std::function<void()> on_drained;   // after write() returned false
    std::function<void()> on_finished;  // end() was called, and the stream has it all; once
    std::function<void()> on_vanished;  // closed altogether after a half-close
  };

  // The head has been written to STREAM. AHEAD: bytes of the client's that were read already. The
  // first handler is called on the loop's next turn. REQUIRES: STREAM outlives this object.
  Tunnel(Loop& loop, Stream& stream, std::string ahead, Handlers handlers);
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;

  // ---- what the stream says
  void received(std::string_view bytes);
  void peer_ended();

  // ---- what the handler wants
  // False: wait for on_drained. Taken in both cases, unless end() was called before.
  bool write(std::string_view bytes);
  void end();
  void pause_reading();
  void resume_reading();
  // Whether what is read now would go straight to on_data.
  bool passes_on() const { return !stopped_ && ahead_.empty() && !reading_paused_; }
  std::size_t held_bytes() const { return held_.size(); }
  int socket_for_splice() const {
    return holding_ || ended_ || stream_.queued() > 0 ? -1 : stream_.fd();
  }
  // Whether end() was called while output was still held: nobody has to wait for the rest.
  bool ending() const { return ended_ && !held_.empty(); }

  // No handler is called any more.
  void stop();

 private:
  bool head_was_read() const;
  void release_later();
  void release();
  void deliver();
  void watch_vanishing();

  Stream& stream_;
  Handlers handlers_;
  std::string ahead_;
  std::string held_;
  bool stopped_ = false;
  bool holding_ = true;
  int hold_checks_ = 0;  // since there was something to hold
  bool reading_paused_ = false;
  bool peer_ended_ = false;
  bool end_told_ = false;
  bool ended_ = false;
  Timer soon_;  // puts things off to the next turn
  Timer hold_;  // polls while output is held
  Timer vanish_;
};

}  // namespace keepwell
