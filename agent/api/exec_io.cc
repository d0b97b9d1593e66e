#include "agent/api/exec_io.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "runtime/loop.h"

namespace keepwell {
namespace {

// Output that may wait for a client before the program has to. Some clients read nothing until the
// program has ended, and rely on about as much.
constexpr std::size_t kQueuedBytesMax = 1 << 20;
constexpr Duration kSilence = std::chrono::milliseconds(100);
constexpr Duration kDrainTime = std::chrono::seconds(2);
constexpr std::size_t kPipeBytes = 64 * 1024;  // of one that nobody has widened
constexpr std::size_t kSplicedFrameBytesMax = kPipeBytes;
constexpr std::size_t kSplicedInputBytesMax = 1 << 20;
constexpr std::string_view kEndOfInput = "\x04";  // of a terminal

// Before Linux 6.5 a splice into a unix socket waits for a lock that the peer holds while it reads:
// a client that reads into memory which is not there would hold up our loop.
bool splices_freely() {
  static const bool freely = [] {
    utsname name{};
    int major = 0, minor = 0;
    return ::uname(&name) == 0 && std::sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 5));
  }();
  return freely;
}

// Room for more on the way to a client, as far as net.core.wmem_max allows.
void widen_socket(int socket) {
  const int bytes = 1 << 20;
  static_cast<void>(::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes));
}

}  // namespace

ExecIo::ExecIo(Loop& loop, ExchangePtr client, Options options, Handlers handlers)
    : loop_(&loop),
      client_(std::move(client)),
      options_(std::move(options)),
      handlers_(std::move(handlers)),
      scanner_(options_.detach_sequence),
      silence_(loop),
      limit_(loop) {}

ExecIo::~ExecIo() = default;

void ExecIo::start(const std::shared_ptr<ExecIo>& self, ExecFdsOfOurs fds) {
  if (client_) {
    Exchange::Handlers handlers;
    handlers.on_closed = [self] {
      self->vanished_ = true;
      self->drop_client();
      if (self->handlers_.on_client_gone) self->handlers_.on_client_gone();
    };
    handlers.on_drained = [self] { self->resume_output(); };
    handlers.on_data = [self](std::string_view bytes) { self->input(bytes); };
    handlers.on_readable = [self](int socket) { return self->splice_input(socket); };
    handlers.on_end = [self] { self->input_ended(); };
    client_->set_handlers(std::move(handlers));
  }
  const bool gone = client_ && client_->closed();  // before there was a terminal to carry
  if (gone) {
    vanished_ = true;
    drop_client();
  }
  if (fds.terminal) {
    terminal_ = open_output(std::move(fds.terminal), FrameStream::out);
  } else {
    if (fds.out) out_ = open_output(std::move(fds.out), FrameStream::out);
    if (fds.err) err_ = open_output(std::move(fds.err), FrameStream::err);
    if (fds.in) open_input(std::move(fds.in));
  }
  if (client_) client_->resume_reading();
  if (gone && handlers_.on_client_gone) handlers_.on_client_gone();
}

void ExecIo::open_input(UniqueFd fd) {
  Stream::Handlers handlers;
  handlers.on_drained = [this] {
    if (client_) client_->resume_reading();
  };
  handlers.on_broken = [this](const Error&) { in_.reset(); };
  Result<std::unique_ptr<Stream>> stream = Stream::open(*loop_, std::move(fd), std::move(handlers));
  if (stream) in_ = std::move(*stream);
}

std::unique_ptr<Stream> ExecIo::open_output(UniqueFd fd, FrameStream stream) {
  Stream::Handlers handlers;
  handlers.on_data = [this, stream](std::string_view bytes) { output(stream, bytes); };
  handlers.on_end = [this] { output_ended(); };
  handlers.on_broken = [this](const Error&) { output_ended(); };
  handlers.on_drained = [this] {
    if (client_) client_->resume_reading();
  };
  if (options_.framed && splices_freely())
    handlers.on_readable = [this, stream](Stream& from) { return splice_output(stream, from); };
  Result<std::unique_ptr<Stream>> opened = Stream::open(*loop_, std::move(fd), std::move(handlers));
  if (!opened) return nullptr;
  ++open_outputs_;
  (*opened)->resume_reading();
  return std::move(*opened);
}

// ---- from the client

void ExecIo::input(std::string_view bytes) {
  if (!options_.forward_input || exited_) return;
  bytes_in_ += bytes.size();
  std::string kept;
  std::string_view forward = bytes;
  bool leave = false;
  if (!options_.detach_sequence.empty()) {
    leave = scanner_.feed(bytes, kept);
    forward = kept;
  }
  Stream* in = input_stream();
  if (in && !in->write(forward) && client_) client_->pause_reading();
  if (!leave) return;
  const ExchangePtr client = client_;
  drop_client();
  if (client) client->end();
  if (handlers_.on_detached) handlers_.on_detached();
}

// As the kernel does it, without copying. False: where somebody has to look at the bytes, or the
// pipe is full, which the ordinary way deals with.
bool ExecIo::splice_input(int socket) {
  if (!options_.forward_input || !options_.detach_sequence.empty() || exited_) return false;
  if (!in_ || in_->closed() || in_->queued() > 0) return false;
  const ssize_t moved = ::splice(socket, nullptr, in_->fd(), nullptr, kSplicedInputBytesMax,
                                 SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (moved <= 0) return false;
  bytes_in_ += static_cast<std::uint64_t>(moved);
  return true;
}

void ExecIo::input_ended() {
  if (!options_.forward_input) return;
  if (terminal_) {
    terminal_->write(kEndOfInput);
  } else if (in_) {
    in_->shutdown_write();
  }
}

// ---- to the client

void ExecIo::output(FrameStream stream, std::string_view bytes) {
  bytes_out_ += bytes.size();
  if (exited_) watch_silence();
  if (!client_) return;
  if (options_.framed) {
    client_->write(frame_bytes(stream, bytes));
  } else {
    client_->write(bytes);
  }
  if (client_->queued() >= kQueuedBytesMax) pause_output();
}

// Hands over one frame of what is in the pipe FROM without copying it: the kernel moves the pages.
// Of a frame that the socket takes only in part, the rest is copied and queued. The program then
// waits until that is through if its pipe was widened, and so holds as much as a queue would; what
// comes through a small one is queued. Bytes of a frame that somebody in the container has read
// away since become zeros. False: nothing can be handed over in this way, or there is nothing.
bool ExecIo::splice_output(FrameStream stream, Stream& from) {
  const int socket = client_ ? client_->socket_for_splice() : -1;
  int waiting = 0;
  if (socket < 0 || ::ioctl(from.fd(), FIONREAD, &waiting) != 0 || waiting <= 0) return false;
  const auto there = static_cast<std::size_t>(waiting);
  if (there >= kPipeBytes) {
    from.widen_pipe();
    if (!std::exchange(wide_socket_, true)) widen_socket(socket);
  }
  const std::size_t size = std::min(there, kSplicedFrameBytesMax);
  const std::string head = frame_head(stream, size);
  if (::send(socket, head.data(), head.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
      static_cast<ssize_t>(head.size()))
    return false;
  const ssize_t moved =
      ::splice(from.fd(), nullptr, socket, nullptr, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  std::string rest(size - static_cast<std::size_t>(std::max<ssize_t>(moved, 0)), '\0');
  bytes_out_ += size;
  if (exited_) watch_silence();
  if (rest.empty()) return true;
  for (std::size_t at = 0; at < rest.size();) {  // in pieces, from a pipe of packets (O_DIRECT)
    const ssize_t n = ::read(from.fd(), rest.data() + at, rest.size() - at);
    if (n <= 0) break;
    at += static_cast<std::size_t>(n);
  }
  client_->write(rest);
  // Where nothing is queued the socket has taken it meanwhile, and nothing would be drained.
  if (client_->queued() > 0 && from.widened()) pause_output();
  return true;
}

void ExecIo::pause_output() {
  paused_ = true;
  for (Stream* stream : {out_.get(), err_.get(), terminal_.get()})
    if (stream) stream->pause_reading();
}

void ExecIo::resume_output() {
  if (!std::exchange(paused_, false)) return;
  for (Stream* stream : {out_.get(), err_.get(), terminal_.get()})
    if (stream) stream->resume_reading();
  if (exited_) watch_silence();
}

void ExecIo::output_ended() {
  if (--open_outputs_ == 0 && exited_) done();
}

void ExecIo::fail(std::string_view text) {
  if (client_) {
    const std::string line = std::string(text) + "\r\n";
    client_->write(options_.framed ? frame_bytes(FrameStream::out, line) : line);
  }
  done();
}

// ---- the end

void ExecIo::exited() {
  if (std::exchange(exited_, true)) return;
  if (open_outputs_ == 0) {
    silence_.start_after(Duration(0), [this] { done(); });
    return;
  }
  watch_silence();
  limit_.start_after(kDrainTime, [this] {
    if (paused_) {
      limit_.start_after(kDrainTime, [this] { done(); });
    } else {
      done();
    }
  });
}

void ExecIo::watch_silence() {
  silence_.start_after(kSilence, [this] {
    if (!paused_) done();
  });
}

void ExecIo::drop_client() {
  client_.reset();
  if (in_) in_->shutdown_write();
  resume_output();
}

// What is in a pipe of the program's and was not taken yet, because the client is slow: it can be
// no more than the pipe holds, and waits in the client's queue.
void ExecIo::take_rest(const Stream* from, FrameStream stream) {
  int left = 0;
  if (!client_ || !from || from->closed() || ::ioctl(from->fd(), FIONREAD, &left) != 0) return;
  std::string bytes(kPipeBytes, '\0');
  while (left > 0) {
    const ssize_t n = ::read(from->fd(), bytes.data(), bytes.size());
    if (n <= 0) return;
    left -= static_cast<int>(n);
    output(stream, std::string_view(bytes).substr(0, static_cast<std::size_t>(n)));
  }
}

void ExecIo::done() {
  if (std::exchange(done_, true)) return;
  take_rest(out_.get(), FrameStream::out);
  take_rest(err_.get(), FrameStream::err);
  silence_.stop();
  limit_.stop();
  const ExchangePtr client = std::move(client_);
  client_.reset();
  if (client) client->end();
  const std::function<void()> on_done = std::move(handlers_.on_done);
  handlers_ = {};
  if (on_done) on_done();
}

}  // namespace keepwell
