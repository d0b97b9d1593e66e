// Carries bytes between a program's descriptors and a hijacked connection, until the program has
// ended and what it wrote is through. Used by exec sessions, and by attach for standard input.
//
//   client --on_data--> [detach keys] --> stdin or terminal        both directions wait for the
//   client <--frames--- stdout, stderr or terminal                 slower side, each on its own
//
// It may lose its client and go on: what the program writes is then read and thrown away, so that
// it never stands still for nobody.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "agent/api/detach_keys.h"
#include "agent/http/exchange.h"
#include "agent/http/stream_frames.h"
#include "runtime/stream.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class Loop;

struct ExecFdsOfOurs {
  UniqueFd in, out, err;  // of pipes
  UniqueFd terminal;      // instead of them
};

class ExecIo {
 public:
  struct Options {
    bool framed = true;           // 8-byte frames towards the client
    bool forward_input = false;   // what the client sends is the program's
    std::string detach_sequence;  // empty: none
  };
  struct Handlers {
    std::function<void()> on_client_gone;  // the connection broke, or the client left
    std::function<void()> on_detached;     // the keys were pressed
    std::function<void()> on_done;  // exited(), and the last byte is on its way; the last call
  };

  // CLIENT is hijacked already, with its reading paused, so that what it sends ahead waits for the
  // program; null: nobody listens. The handlers of CLIENT are taken over.
  ExecIo(Loop& loop, ExchangePtr client, Options options, Handlers handlers);
  ~ExecIo();
  ExecIo(const ExecIo&) = delete;
  ExecIo& operator=(const ExecIo&) = delete;

  // The program runs. SELF: this object, which the client's handlers keep.
  void start(const std::shared_ptr<ExecIo>& self, ExecFdsOfOurs fds);

  // Tells the client TEXT as the program's output, and ends.
  void fail(std::string_view text);

  // The program has ended: what is still in its pipes goes to the client, then on_done. Others that
  // hold the pipes open get 100 ms of silence, or two seconds in all.
  void exited();

  // Whether there was a client that went away, other than by the detach keys.
  bool client_vanished() const { return vanished_ || (client_ && !client_->client_is_there()); }

  std::uint64_t bytes_in() const { return bytes_in_; }
  std::uint64_t bytes_out() const { return bytes_out_; }

 private:
  void open_input(UniqueFd fd);
  std::unique_ptr<Stream> open_output(UniqueFd fd, FrameStream stream);
  void input(std::string_view bytes);
  bool splice_input(int socket);
  void input_ended();
  void output(FrameStream stream, std::string_view bytes);
  bool splice_output(FrameStream stream, Stream& from);
  void output_ended();
  void take_rest(const Stream* from, FrameStream stream);
  void pause_output();
  void resume_output();
  void watch_silence();
  void drop_client();
  void done();
  Stream* input_stream() const { return terminal_ ? terminal_.get() : in_.get(); }

  Loop* loop_;
  ExchangePtr client_;
  Options options_;
  Handlers handlers_;
  DetachScanner scanner_;
  std::unique_ptr<Stream> in_, out_, err_, terminal_;
  int open_outputs_ = 0;
  bool vanished_ = false;
  bool paused_ = false;
  bool wide_socket_ = false;
  bool exited_ = false;
  bool done_ = false;
  std::uint64_t bytes_in_ = 0, bytes_out_ = 0;
  Timer silence_;
  Timer limit_;
};

}  // namespace keepwell
