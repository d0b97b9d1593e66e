#include "runtime/logger/logger.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

namespace keepwell {
namespace {

constexpr std::size_t kPeekBytes = 64 * 1024;
constexpr std::uint64_t kRetryMs = 1000;
constexpr std::uint64_t kHoldMs = 10 * 60 * 1000;
constexpr int kHoldLookMs = 100;
constexpr std::uint64_t kControlTag = 0;  // stream ids begin at 1

std::int64_t clock_ns(clockid_t clock) {
  timespec ts{};
  clock_gettime(clock, &ts);
  return std::int64_t{ts.tv_sec} * 1'000'000'000 + ts.tv_nsec;
}

std::uint64_t now_ms() { return static_cast<std::uint64_t>(clock_ns(CLOCK_MONOTONIC)) / 1'000'000; }

std::uint64_t readable_bytes(int fifo) {
  int bytes = 0;
  return ioctl(fifo, FIONREAD, &bytes) == 0 ? static_cast<std::uint64_t>(bytes) : 0;
}

}  // namespace

Logger::Logger(UniqueFd control) : control_(std::move(control)), buffer_(kPeekBytes) {}

bool Logger::open() {
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  std::array<int, 2> ends{-1, -1};
  if (!epoll_ || pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return false;
  peek_read_.reset(ends[0]);
  peek_write_.reset(ends[1]);
  epoll_event event{EPOLLIN, {.u64 = kControlTag}};
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, control_.get(), &event) == 0;
}

int Logger::run() {
  if (!open()) {
    std::fprintf(stderr, "keepwell-logger: cannot start: %s\n", std::strerror(errno));
    return 1;
  }
  while (!keeper_gone_ && !(finishing_ && streams_.empty() && outbox_.empty())) turn();
  if (keeper_gone_ && !finishing_) hold();
  return keeper_gone_ ? 1 : 0;
}

// Until another logger has each stream, or its FIFO is replaced or removed.
void Logger::hold() {
  control_.reset();
  epoll_.reset();
  // Nobody may have to wait for us: not who reads our stderr, not who unmounts the logs' disk.
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null.get(), fd);
  for (auto& [id, stream] : streams_) stream.log->let_go();
  for (std::uint64_t until = now_ms() + kHoldMs; !streams_.empty() && now_ms() < until;) {
    poll(nullptr, 0, kHoldLookMs);
    std::erase_if(streams_, [](const auto& entry) {
      struct stat st {};
      bool unlinked = fstat(entry.second.fifo.get(), &st) != 0 || st.st_nlink == 0;
      return unlinked || entry.second.log->taken_over();
    });
  }
}

void Logger::turn() {
  std::uint64_t now = now_ms();
  int timeout = !ready_.empty()    ? 0
                : retry_ms_ == 0   ? -1
                : now >= retry_ms_ ? 0
                                   : static_cast<int>(retry_ms_ - now);
  std::array<epoll_event, 64> events;
  int count = epoll_wait(epoll_.get(), events.data(), events.size(), timeout);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.u64 == kControlTag) {
      if ((event.events & EPOLLOUT) != 0) outbox_.flush(control_.get());
      read_control();
    } else if (auto it = streams_.find(event.data.u64); it != streams_.end()) {
      // A stalled one is tried again when the others are, not whenever its writer writes.
      if (it->second.stalled_since == 0) make_ready(it->second);
    }
  }
  if (retry_ms_ != 0 && now_ms() >= retry_ms_) {
    retry_ms_ = 0;
    for (auto& [id, stream] : streams_) {
      if (stream.stalled_since != 0) make_ready(stream);
    }
  }
  for (std::size_t left = ready_.size(); left > 0; --left) {
    auto it = streams_.find(ready_.front());
    ready_.pop_front();
    if (it == streams_.end()) continue;
    it->second.queued = false;
    if (pump(it->second)) {
      make_ready(it->second);
    } else if (it->second.draining && it->second.stalled_since == 0 && !must_wait(it->second)) {
      end_stream(it->first);
    }
  }
  epoll_event event{outbox_.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT, {.u64 = kControlTag}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, control_.get(), &event);
}

void Logger::make_ready(Stream& stream) {
  if (stream.queued) return;
  stream.queued = true;
  ready_.push_back(stream.id);
}

// ---- what the keeper says

void Logger::read_control() {
  wire::Datagram message;
  for (;;) {
    switch (wire::receive(control_.get(), message)) {
      case wire::Received::nothing:
        return;
      case wire::Received::closed:
        keeper_gone_ = true;
        return;
      case wire::Received::malformed:
        continue;
      case wire::Received::message:
        on_message(message);
    }
  }
}

void Logger::on_message(wire::Datagram& message) {
  switch (message.type()) {
    case wire::Type::stream:
      return add_stream(message);
    case wire::Type::drain:
      if (auto it = streams_.find(message.head.id); it != streams_.end()) {
        begin_drain(it->second);
      } else {  // one that could not be taken: the keeper must not wait for it
        end_stream(message.head.id);
      }
      return;
    case wire::Type::finish:
      finishing_ = true;
      for (auto& [id, stream] : streams_) begin_drain(stream);
      return;
    default:
      outbox_.send(control_.get(), encode(wire::Type::refused, message.head.id,
                                          wire::Refused{message.head.type, wire::kVersion}));
  }
}

void Logger::add_stream(wire::Datagram& message) {
  auto body = message.body<wire::LogStream>();
  wire::Text text(message);
  std::string name = text.take(body.name_bytes);
  std::optional<StreamBlob> blob = parse_stream_blob(text.take(body.blob_bytes));
  if (!text.ok() || !blob || message.fds.size() != 1 || message.head.id == kControlTag) {
    std::fprintf(stderr, "keepwell-logger: cannot take log stream %s\n", name.c_str());
    return;
  }
  std::shared_ptr<ContainerLog> log = logs_[blob->record_path].lock();
  if (!log) {
    log = std::make_shared<ContainerLog>(*blob);
    logs_[blob->record_path] = log;
  }
  log->set_limits(*blob);
  Stream& stream = streams_[message.head.id];
  stream = {};
  stream.id = message.head.id;
  stream.fifo = std::move(message.fds.front());
  stream.name = blob->stream;
  stream.index = blob->stream == "stdout" ? 0 : 1;
  stream.log = std::move(log);
  int flags = fcntl(stream.fifo.get(), F_GETFL);
  fcntl(stream.fifo.get(), F_SETFL, flags | O_NONBLOCK);
  // Edge-triggered: half a line stays in the FIFO, and must not wake us until more comes.
  epoll_event event{EPOLLIN | EPOLLET, {.u64 = stream.id}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stream.fifo.get(), &event);
  make_ready(stream);
}

void Logger::begin_drain(Stream& stream) {
  if (stream.draining) return;
  stream.draining = true;
  ++draining_;
  stream.drain_bytes = readable_bytes(stream.fifo.get());  // not what a writer still alive adds
  make_ready(stream);
}

void Logger::end_stream(std::uint64_t id) {
  if (auto it = streams_.find(id); it != streams_.end()) {
    // Others have the FIFO open too, so closing it would leave it in the set.
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second.fifo.get(), nullptr);
    std::shared_ptr<ContainerLog> log = it->second.log;
    draining_ -= it->second.draining ? 1 : 0;
    streams_.erase(it);
    for (auto& [other_id, other] : streams_) {  // that waited for this one
      if (other.log == log) make_ready(other);
    }
    log.reset();
    std::erase_if(logs_, [](const auto& entry) { return entry.second.expired(); });
  }
  if (!finishing_) {
    outbox_.send(control_.get(), encode(wire::Type::drained, id, wire::Nothing{}));
  }
}

// ---- from the FIFO to the log

// A copy of what FIFO begins with; nothing is taken.
std::string_view Logger::peek(int fifo) {
  ssize_t n = tee(fifo, peek_write_.get(), kPeekBytes, SPLICE_F_NONBLOCK);
  if (n <= 0) return {};
  std::size_t got = 0;
  while (got < static_cast<std::size_t>(n)) {
    ssize_t r = read(peek_read_.get(), buffer_.data() + got, static_cast<std::size_t>(n) - got);
    if (r < 0 && errno == EINTR) continue;
    if (r <= 0) break;
    got += static_cast<std::size_t>(r);
  }
  return {buffer_.data(), got};
}

// A container's new run is read when its old run's pipes are empty.
bool Logger::must_wait(const Stream& stream) const {
  return draining_ > 0 && std::ranges::any_of(streams_, [&](const auto& entry) {
           const Stream& other = entry.second;
           return other.draining && other.id < stream.id && other.log == stream.log &&
                  other.index == stream.index;
         });
}

// One batch of STREAM; true if there may be more to do at once.
bool Logger::pump(Stream& stream) {
  if (!stream.settled && !stream.log->settle(stream.fifo.get(), stream.index)) {
    stall(stream, "open its log");
    return false;
  }
  stream.settled = true;
  if (must_wait(stream)) return false;
  std::string_view raw = peek(stream.fifo.get());
  if (stream.draining) raw = raw.substr(0, stream.drain_bytes);
  if (raw.empty()) return false;
  bool last = stream.draining && raw.size() == stream.drain_bytes;
  std::int64_t wall_ns = clock_ns(CLOCK_REALTIME);
  LogBatch batch = make_lines(raw, stream.name, wall_ns, last, stream.log->room());
  if (batch.raw_bytes == 0 && stream.draining) {  // more is there, but a look does not reach so far
    batch = make_lines(raw, stream.name, wall_ns, true, stream.log->room());
  }
  if (batch.raw_bytes == 0) return false;
  if (!stream.log->write(stream.fifo.get(), stream.index, raw, batch)) {
    stall(stream, "write its log");
    return false;
  }
  if (stream.stalled_since != 0) {
    stream.log->count_stall(stream.index, now_ms() - stream.stalled_since);
    stream.stalled_since = 0;
  }
  if (stream.draining) stream.drain_bytes -= batch.raw_bytes;
  return true;
}

void Logger::stall(Stream& stream, const char* what) {
  std::uint64_t now = now_ms();
  if (stream.stalled_since == 0) {
    std::fprintf(stderr, "keepwell-logger: cannot %s: %s; it waits\n", what, std::strerror(errno));
  } else {  // counted as it grows, so that metrics show a stall that lasts
    stream.log->count_stall(stream.index, now - stream.stalled_since);
  }
  stream.stalled_since = now;
  if (retry_ms_ == 0) retry_ms_ = now + kRetryMs;
}

}  // namespace keepwell
