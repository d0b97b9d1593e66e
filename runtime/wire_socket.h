// One end of the SOCK_SEQPACKET pairs between agent, keeper and logger: building, sending,
// receiving and checking the datagrams of keeper_protocol.h. Nothing here blocks and nothing knows
// a loop; the keeper and the logger, which have no libuv, compile this file into themselves.
#pragma once

#include <cstring>
#include <deque>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/keeper_protocol.h"
#include "runtime/unique_fd.h"

namespace keepwell::wire {

// A datagram, with the descriptors that came with it (or wait to be sent).
struct Datagram {
  MessageHead head{};
  std::string bytes;  // body, then text
  std::vector<UniqueFd> fds;

  Type type() const { return static_cast<Type>(head.type); }

  // The body as we know it: zeroes where the sender's was shorter.
  template <class Body>
  Body body() const {
    Body known{};
    std::memcpy(&known, bytes.data(), std::min<std::size_t>(sizeof(Body), head.body_bytes));
    return known;
  }

  // Whether every descriptor that was sent has arrived (the receiver may have run out of them).
  bool fds_complete() const { return fds.size() == head.fd_count; }
};

// Reads the strings after a body one by one, in order. A length beyond the end makes ok() false and
// the string empty.
class Text {
 public:
  explicit Text(const Datagram& message)
      : rest_(std::string_view(message.bytes).substr(message.head.body_bytes)) {}
  std::string take(std::uint32_t bytes);
  bool ok() const { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

// The bytes of one message. Body is a struct of keeper_protocol.h.
template <class Body>
std::string encode(Type type, std::uint64_t id, const Body& body,
                   std::initializer_list<std::string_view> texts = {}) {
  MessageHead head{kMagic, kVersion, static_cast<std::uint16_t>(type), sizeof(Body), 0, id};
  std::string message(reinterpret_cast<const char*>(&head), sizeof(head));
  message.append(reinterpret_cast<const char*>(&body), sizeof(body));
  for (std::string_view text : texts) message.append(text);
  return message;
}

// Sends one datagram with FDS (at most kFdsMax, borrowed), without waiting. 0 or errno, with
// nothing sent.
int send_with_fds(int socket, std::string_view bytes, std::span<const int> fds);

enum class Received { message, nothing, closed, malformed };

// Takes the next datagram from SOCKET, if there is one. All descriptors that arrive are
// close-on-exec. `malformed` says that one was dropped.
Received receive(int socket, Datagram& out);

// Sends in order; what the socket does not take waits here, with its descriptors duplicated.
class Outbox {
 public:
  // MESSAGE comes from encode(); FDS are borrowed. Returns false if the other side is gone (the
  // message is dropped) or its descriptors could not be duplicated.
  bool send(int socket, std::string message, std::span<const int> fds = {});

  // Sends what waits, as far as the socket takes it; false if the other side is gone.
  bool flush(int socket);

  bool empty() const { return waiting_.empty(); }
  void clear() { waiting_.clear(); }

 private:
  struct Waiting {
    std::string message;
    std::vector<UniqueFd> fds;
  };
  std::deque<Waiting> waiting_;
};

// A connected pair, close-on-exec, non-blocking; both ends empty on failure (errno says why).
struct SocketPair {
  UniqueFd ours, theirs;
};
SocketPair make_pair();

}  // namespace keepwell::wire
