#include "runtime/wire_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace keepwell::wire {
namespace {

enum class Sent { yes, full, gone };

union ControlBuffer {
  char bytes[CMSG_SPACE(sizeof(int) * kFdsMax)];
  cmsghdr align;
};

Sent send_now(int socket, std::string& message, std::span<const int> fds) {
  reinterpret_cast<MessageHead*>(message.data())->fd_count = static_cast<std::uint32_t>(fds.size());
  const int error = send_with_fds(socket, message, fds);
  if (error == 0) return Sent::yes;
  // ETOOMANYREFS: too many descriptors are on their way already; they leave when read.
  return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS
             ? Sent::full
             : Sent::gone;
}

}  // namespace

int send_with_fds(int socket, std::string_view bytes, std::span<const int> fds) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};  // sendmsg does not write to it
  ControlBuffer control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control.bytes;
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* entry = CMSG_FIRSTHDR(&header);
    entry->cmsg_level = SOL_SOCKET;
    entry->cmsg_type = SCM_RIGHTS;
    entry->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(entry), fds.data(), fds.size_bytes());
  }
  for (;;) {
    if (sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

std::string Text::take(std::uint32_t bytes) {
  if (bytes > rest_.size()) {
    ok_ = false;
    return {};
  }
  std::string text(rest_.substr(0, bytes));
  rest_.remove_prefix(bytes);
  return text;
}

Received receive(int socket, Datagram& out) {
  static std::array<char, kMessageBytesMax> buffer;  // one thread; a message is copied out at once
  iovec part{buffer.data(), buffer.size()};
  ControlBuffer control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.bytes;
  header.msg_controllen = sizeof(control.bytes);
  ssize_t n = 0;
  do {
    n = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    // A peer that closed without having read everything is reported once as a reset, before what it
    // had sent: its last words are still there.
  } while (n < 0 && (errno == EINTR || errno == ECONNRESET));
  if (n < 0) return errno == EAGAIN || errno == ENOMEM ? Received::nothing : Received::closed;
  if (n == 0) return Received::closed;

  out.fds.clear();
  for (cmsghdr* entry = CMSG_FIRSTHDR(&header); entry; entry = CMSG_NXTHDR(&header, entry)) {
    if (entry->cmsg_level != SOL_SOCKET || entry->cmsg_type != SCM_RIGHTS) continue;
    std::size_t count = (entry->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(entry) + i * sizeof(int), sizeof(int));
      out.fds.emplace_back(fd);
    }
  }
  auto size = static_cast<std::size_t>(n);
  if (size < sizeof(MessageHead) || (header.msg_flags & MSG_TRUNC) != 0) return Received::malformed;
  std::memcpy(&out.head, buffer.data(), sizeof(MessageHead));
  out.bytes.assign(buffer.data() + sizeof(MessageHead), size - sizeof(MessageHead));
  if (out.head.magic != kMagic || out.head.body_bytes > out.bytes.size())
    return Received::malformed;
  return Received::message;
}

bool Outbox::send(int socket, std::string message, std::span<const int> fds) {
  if (waiting_.empty()) {
    Sent sent = send_now(socket, message, fds);
    if (sent != Sent::full) return sent == Sent::yes;
  }
  Waiting waiting{std::move(message), {}};
  for (int fd : fds) {
    UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy) return false;
    waiting.fds.push_back(std::move(copy));
  }
  waiting_.push_back(std::move(waiting));
  return true;
}

bool Outbox::flush(int socket) {
  while (!waiting_.empty()) {
    Waiting& head = waiting_.front();
    std::vector<int> fds;
    for (const UniqueFd& fd : head.fds) fds.push_back(fd.get());
    Sent sent = send_now(socket, head.message, fds);
    if (sent == Sent::full) return true;
    waiting_.pop_front();
    if (sent == Sent::gone) return false;
  }
  return true;
}

SocketPair make_pair() {
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
    return {};
  }
  // Room for the greeting of a thousand services; more waits in the Outbox.
  int bytes = 1 << 20;
  for (int end : ends) setsockopt(end, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace keepwell::wire
