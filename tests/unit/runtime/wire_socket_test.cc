#include "runtime/wire_socket.h"

#include "tests/catch.h"

using namespace keepwell;

// The kernel then reports a reset before it gives out what was sent.
TEST_CASE("the last words of a peer that had unread messages are received") {
  wire::SocketPair pair = wire::make_pair();
  auto [ours, theirs] = std::move(pair);
  wire::Outbox out, back;
  REQUIRE(out.send(theirs.get(), wire::encode(wire::Type::stopping, 7, wire::Stopping{3, 0})));
  REQUIRE(back.send(ours.get(), wire::encode(wire::Type::signal, 0, wire::Signal{15, 0})));
  theirs.reset();

  wire::Datagram message;
  REQUIRE(wire::receive(ours.get(), message) == wire::Received::message);
  CHECK(message.type() == wire::Type::stopping);
  CHECK(message.body<wire::Stopping>().exit_code == 3);
  CHECK(wire::receive(ours.get(), message) == wire::Received::closed);
}
