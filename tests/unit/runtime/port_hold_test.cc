// Which of the host's ports a container gets again.
#include "runtime/network/port_hold.h"

#include <sys/socket.h>

#include "tests/catch.h"

using namespace keepwell;

namespace {

PortSpec port(std::uint16_t inside, std::uint16_t host) {
  PortSpec spec;
  spec.container_port = inside;
  spec.protocol = "tcp";
  spec.host_ip = "127.0.0.1";
  spec.host_port = host;
  return spec;
}

}  // namespace

TEST_CASE("a chosen port is kept beside a fixed one of the same service") {
  PortHold hold(true);
  // One that is free, as the kernel says.
  Result<std::vector<PublishedPort>> any = hold.take("a", {port(80, 0)}, {});
  REQUIRE(any);
  const std::uint16_t fixed = any->front().host_port;
  hold.release("a");
  for (const std::vector<PortSpec>& specs :
       {std::vector{port(80, fixed), port(80, 0)}, std::vector{port(80, 0), port(80, fixed)}}) {
    Result<std::vector<PublishedPort>> first = hold.take("a", specs, {});
    REQUIRE(first);
    CHECK(hold.sockets("a").size() == 2);
    Result<std::vector<PublishedPort>> again = hold.take("a", specs, *first);
    REQUIRE(again);
    CHECK(*again == *first);
    hold.release("a");
  }
  CHECK(hold.sockets("a").empty());
}

TEST_CASE("a port that serves is listened on, and nobody else gets it") {
  PortHold hold(true), other(true);
  Result<std::vector<PublishedPort>> mine = hold.take("a", {port(80, 0)}, {});
  REQUIRE(mine);
  int listens = 0;
  socklen_t size = sizeof listens;
  REQUIRE(getsockopt(hold.sockets("a").front(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0);
  CHECK(listens == 1);
  Result<std::vector<PublishedPort>> theirs =
      other.take("b", {port(80, mine->front().host_port)}, {});
  REQUIRE_FALSE(theirs);
  CHECK(theirs.error().code == Errc::conflict);
  hold.hold("a", *mine);  // of one that runs: the same again
  CHECK(hold.sockets("a").size() == 1);
}
