#include "runtime/stream.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <utility>

#include "config/check.h"
#include "runtime/loop.h"

namespace keepwell {
namespace {

constexpr std::size_t kReadBytes = 64 * 1024;  // a pipe's capacity: one read empties it
constexpr int kPipeBytes = 1 << 20;            // of a pipe that was found full
constexpr int kReadsPerTurn = 4;  // then other descriptors get their turn, however fast this one is

constexpr std::size_t kHighWater = 64 * 1024;  // of what is queued

}  // namespace

Result<std::unique_ptr<Stream>> Stream::open(Loop& loop, UniqueFd fd, Handlers handlers) {
  struct stat st {};
  if (fstat(fd.get(), &st) != 0) return fail_errno("cannot read the kind of a stream's descriptor");
  std::unique_ptr<Stream> stream(
      new Stream(loop, std::move(fd), S_ISSOCK(st.st_mode), std::move(handlers)));
  stream->small_pipe_ = S_ISFIFO(st.st_mode);
  Status watched = stream->watch_.start(stream->fd_.get(), {},
                                        [self = stream.get()](Ready ready) { self->ready(ready); });
  if (!watched) return fail(watched.error());
  return stream;
}

Stream::Stream(Loop& loop, UniqueFd fd, bool socket, Handlers handlers)
    : fd_(std::move(fd)),
      socket_(socket),
      handlers_(std::move(handlers)),
      watch_(loop),
      later_(loop),
      alive_(std::make_shared<bool>(true)) {}

void Stream::set_handlers(Handlers handlers) { handlers_ = std::move(handlers); }

void Stream::resume_reading() {
  reading_ = true;
  update_interest();
}

void Stream::pause_reading() {
  reading_ = false;
  update_interest();
}

void Stream::update_interest() {
  if (!watch_.watching()) return;
  watch_.change({.readable = reading_ && !ended_, .writable = queued_ > 0});
}

void Stream::ready(Ready ready) {
  std::weak_ptr<bool> alive = alive_;
  if (ready.error) {  // libuv stopped polling; the calls themselves say what is wrong
    ready.readable = reading_ && !ended_;
    ready.writable = queued_ > 0;
  }
  if (ready.writable) flush();
  if (ready.readable && reading_ && !ended_) read_some();
  if (alive.expired()) return;
  if (ready.error) update_interest();
}

void Stream::read_some() {
  std::weak_ptr<bool> alive = alive_;
  std::array<char, kReadBytes> buffer;  // not initialised: read fills what is used
  for (int i = 0; i < kReadsPerTurn && reading_ && !ended_ && fd_ && !broken_; ++i) {
    if (handlers_.on_readable) {
      const std::function<bool(Stream&)> running = handlers_.on_readable;
      const bool taken = running(*this);
      if (alive.expired()) return;
      if (taken) continue;
    }
    ssize_t n = ::read(fd_.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n > 0) {
      if (static_cast<std::size_t>(n) == buffer.size()) widen_pipe();
      call(&Handlers::on_data, std::string_view(buffer.data(), static_cast<std::size_t>(n)));
    } else if (n == 0 || errno == EIO) {  // EIO: the last user of a pty's other side is gone
      ended_ = true;
      update_interest();
      call(&Handlers::on_end);
    } else {
      fail_later(Error::os(errno, "cannot read from a stream"));
    }
    if (alive.expired()) return;
  }
}

void Stream::widen_pipe() {
  if (std::exchange(small_pipe_, false))
    widened_ = fcntl(fd_.get(), F_SETPIPE_SZ, kPipeBytes) >= kPipeBytes;
}

bool Stream::write(std::string_view data) {
  if (!fd_ || broken_ || shutdown_ != Shutdown::none || data.empty()) return queued_ < kHighWater;
  if (queued_ == 0) {
    data.remove_prefix(transmit(data));
    if (!data.empty() && small_pipe_) {
      widen_pipe();
      data.remove_prefix(transmit(data));
    }
    if (data.empty() || broken_) return true;
    drained_due_ = true;
  }
  const bool was_empty = queued_ == 0;
  queue_.emplace_back(data);
  queued_ += data.size();
  if (was_empty) update_interest();
  return queued_ < kHighWater;
}

// Hands over as much of DATA as the descriptor takes now, and returns how much that was. Calls no
// handler.
std::size_t Stream::transmit(std::string_view data) {
  while (true) {
    const ssize_t n = socket_ ? ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL)
                              : ::write(fd_.get(), data.data(), data.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK)
      fail_later(Error::os(errno, "cannot write to a stream"));
    return 0;
  }
}

// Writes what the descriptor takes. Calls no handler.
void Stream::flush() {
  bool had_data = queued_ > 0;
  while (queued_ > 0) {
    const std::string& head = queue_.front();
    const std::size_t n = transmit(std::string_view(head).substr(head_sent_));
    if (broken_) return;
    if (n == 0) {
      drained_due_ = true;
      return;
    }
    queued_ -= n;
    head_sent_ += n;
    if (head_sent_ == head.size()) {
      queue_.pop_front();
      head_sent_ = 0;
    }
  }
  if (had_data) update_interest();
  if (shutdown_ == Shutdown::wanted) {
    shutdown_ = Shutdown::done;
    drained_due_ = true;
    if (socket_) {
      ::shutdown(fd_.get(), SHUT_WR);
    } else {
      watch_.stop();
      fd_.reset();
    }
  }
  if (drained_due_) drained_later();
}

void Stream::shutdown_write() {
  if (!fd_ || broken_ || shutdown_ != Shutdown::none) return;
  shutdown_ = Shutdown::wanted;
  if (queued_ == 0) flush();
}

void Stream::close() {
  watch_.stop();
  later_.stop();
  fd_.reset();
  queue_.clear();
  queued_ = head_sent_ = 0;
}

UniqueFd Stream::release() {
  UniqueFd fd = std::move(fd_);
  close();
  return fd;
}

void Stream::fail_later(Error error) {
  if (broken_) return;
  broken_ = true;
  error_ = std::move(error);
  watch_.stop();
  queue_.clear();
  queued_ = head_sent_ = 0;
  later_.start_after(Duration(0), [this] { call(&Handlers::on_broken, error_); });
}

void Stream::drained_later() {
  if (broken_) return;
  later_.start_after(Duration(0), [this] {
    if (queued_ > 0) return;
    drained_due_ = false;
    call(&Handlers::on_drained);
  });
}

// Calls HANDLER, which may destroy the stream or replace the handlers; false if it destroyed it.
template <class... FnArgs, class... Args>
bool Stream::call(std::function<void(FnArgs...)> Handlers::*handler, Args&&... args) {
  std::function<void(FnArgs...)> running = handlers_.*handler;
  if (!running) return true;
  std::weak_ptr<bool> alive = alive_;
  running(std::forward<Args>(args)...);
  return !alive.expired();
}

}  // namespace keepwell
