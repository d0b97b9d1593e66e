// A byte stream over a non-blocking descriptor: a socket, a pipe end, a FIFO, a pty master. Reading
// can be paused (that is the back-pressure towards the peer), writing is queued without bound and
// says when the queue has grown past a mark (that is the back-pressure towards the caller). A
// stream that only reads never polls for writing, and the other way round.
//
// Ends are two separate events: on_end says that the peer sends no more, on_broken that nothing
// works any more. Destroying the stream, or close(), drops what is still queued and calls nothing.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "config/result.h"
#include "runtime/fd_watch.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class Stream {
 public:
  // All are called from the loop only, never from inside a method of the stream, and may destroy
  // it. Any may be empty.
  struct Handlers {
    std::function<void(std::string_view)> on_data{};  // the bytes are valid during the call
    // Asked first where there is something to read: it may take bytes out of the descriptor itself
    // (splice). False: it did not, they are to be read and given to on_data.
    std::function<bool(Stream&)> on_readable{};
    std::function<void()> on_end{};          // end of file; writing may go on
    std::function<void(Error)> on_broken{};  // called once, and nothing after it
    std::function<void()> on_drained{};      // the queue, once not empty, is empty now
  };

  // Takes FD over and makes it non-blocking (the flag belongs to the open file, so to everybody who
  // shares it: duplicate a terminal by re-opening it). Reading is paused at first. Fails, closing
  // FD, if it cannot be polled.
  static Result<std::unique_ptr<Stream>> open(Loop& loop, UniqueFd fd, Handlers handlers);

  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() = default;

  // Replaces the handlers, as a hijacked HTTP connection does. May be called inside one.
  void set_handlers(Handlers handlers);

  void resume_reading();
  void pause_reading();

  // Sends DATA after what is queued. Returns true while less than 64 KiB are queued, false when the
  // caller should wait for on_drained; the data is taken in both cases. After shutdown_write() or a
  // broken stream it is dropped.
  bool write(std::string_view data);

  // Sends end-of-file once the queue is empty: SHUT_WR on a socket; on anything else the descriptor
  // is closed. on_drained then also means that it was sent.
  void shutdown_write();

  // Closes the descriptor at once.
  void close();

  // Gives the descriptor up, dropping what is queued; the stream is closed after it.
  UniqueFd release();

  // A pipe of the kernel's ordinary size gets room for more. Whoever fills it is fast: both sides
  // then run longer between two turns.
  void widen_pipe();
  bool widened() const { return widened_; }

  std::size_t queued() const { return queued_; }
  bool closed() const { return !fd_; }
  bool ended() const { return ended_; }  // on_end was called or is being called
  int fd() const { return fd_.get(); }

 private:
  enum class Shutdown { none, wanted, done };

  Stream(Loop& loop, UniqueFd fd, bool socket, Handlers handlers);
  void ready(Ready ready);
  void read_some();
  void flush();
  std::size_t transmit(std::string_view data);
  void update_interest();
  void fail_later(Error error);
  void drained_later();
  template <class... FnArgs, class... Args>
  bool call(std::function<void(FnArgs...)> Handlers::*handler, Args&&... args);

  UniqueFd fd_;
  bool socket_;
  Handlers handlers_;
  FdWatch watch_;
  Timer later_;  // puts on_broken and on_drained off to the loop's next turn
  bool reading_ = false;
  bool ended_ = false;
  bool drained_due_ = false;
  bool small_pipe_ = false;  // a pipe of the kernel's ordinary size
  bool widened_ = false;
  bool broken_ = false;
  Shutdown shutdown_ = Shutdown::none;
  Error error_;
  std::deque<std::string> queue_;
  std::size_t head_sent_ = 0;  // bytes of queue_.front() that are gone
  std::size_t queued_ = 0;
  std::shared_ptr<bool> alive_;  // false once destroyed: how a loop over callbacks notices
};

}  // namespace keepwell
