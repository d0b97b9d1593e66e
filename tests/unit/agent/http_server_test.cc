// The server over real sockets on one loop: keep-alive, limits, times, chunks, hijacked
// connections.
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "agent/api/exec_io.h"
#include "agent/http/server.h"
#include "runtime/listener.h"
#include "runtime/loop.h"
#include "tests/catch.h"

using namespace keepwell;

namespace {

// A server with HANDLER, and clients of it in the same thread.
struct Fixture {
  std::unique_ptr<Loop> loop = *Loop::open();
  std::string directory;
  std::unique_ptr<HttpServer> server;

  explicit Fixture(std::function<void(ExchangePtr)> handler, HttpLimits limits = {},
                   bool streams = false) {
    char name[] = "/tmp/kw-http-XXXXXX";
    directory = ::mkdtemp(name);
    Result<UniqueFd> listener = listen_unix({directory + "/s", "", 0600});
    REQUIRE(listener);
    HttpServer::Options options;
    options.handler = std::move(handler);
    options.limits = limits;
    if (streams) options.body_bytes_max = [](const HttpRequest&) { return std::nullopt; };
    server = std::move(*HttpServer::open(*loop, std::move(*listener), std::move(options)));
  }
  ~Fixture() {
    server.reset();
    loop->close();
    ::unlink((directory + "/s").c_str());
    ::rmdir(directory.c_str());
  }

  UniqueFd connect() const { return std::move(*connect_unix(directory + "/s")); }

  static void send(const UniqueFd& fd, const std::string& bytes) {
    REQUIRE(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }

  // Turns the loop until DONE or for two seconds.
  void turn(const std::function<bool()>& done) const {
    const Instant end = Loop::now().mono + std::chrono::seconds(2);
    while (!done() && Loop::now().mono < end) loop->poll();
    CHECK(done());
  }

  // What FD has received until it holds END, or (END empty) until it was closed.
  std::string receive(const UniqueFd& fd, const std::string& end) const {
    std::string got;
    bool closed = false;
    turn([&] {
      char bytes[4096];
      const ssize_t n = ::recv(fd.get(), bytes, sizeof bytes, MSG_DONTWAIT);
      if (n > 0) got.append(bytes, static_cast<std::size_t>(n));
      closed = closed || n == 0 || (n < 0 && errno == ECONNRESET);
      return closed || (!end.empty() && got.find(end) != std::string::npos);
    });
    return got;
  }
};

const std::string kGet = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";

void echo(const ExchangePtr& exchange) {
  exchange->respond({200, "text/plain", exchange->request().path + ":" + exchange->body(), {}});
}

}  // namespace

TEST_CASE("requests on one connection are answered in order") {
  Fixture f(echo);
  const UniqueFd client = f.connect();
  Fixture::send(client, kGet);
  CHECK_THAT(f.receive(client, "/x:"),
             StartsWith("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"));
  Fixture::send(client, "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab" + kGet +
                            "GET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string got = f.receive(client, "");
  CHECK(got.find("/1:ab") < got.find("/x:"));
  CHECK(got.find("/x:") < got.find("/2:"));
  CHECK_THAT(got, ContainsSubstring("Connection: close"));
}

TEST_CASE("a half-closed client still gets its answers") {
  Fixture f(echo);
  const UniqueFd client = f.connect();
  Fixture::send(client, kGet + kGet);
  ::shutdown(client.get(), SHUT_WR);
  const std::string got = f.receive(client, "");
  CHECK(got.find("/x:") != got.rfind("/x:"));
}

TEST_CASE("a HEAD has no body, and 204 no length") {
  Fixture f([](const ExchangePtr& exchange) {
    exchange->respond(exchange->request().method == "HEAD"
                          ? HttpResponse{200, "text/plain", "OK", {}}
                          : HttpResponse{204, "", "", {}});
  });
  const UniqueFd client = f.connect();
  Fixture::send(client, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string head = f.receive(client, "\r\n\r\n");
  CHECK_THAT(head, ContainsSubstring("Content-Length: 0\r\n"));
  CHECK(head.substr(head.size() - 4) == "\r\n\r\n");
  Fixture::send(client, kGet);
  CHECK(f.receive(client, "\r\n\r\n").find("Content-Length") == std::string::npos);
}

TEST_CASE("bad and oversized requests are told and cut off") {
  HttpLimits limits;
  limits.body_bytes_max = 10;
  Fixture f(echo, limits);
  const std::vector<std::pair<std::string, std::string>> cases{
      {"GET / HTTP/1.1\nHost: x\n\n", "400"},
      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n", "413"},
      {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n",
       "413"},
      {"GET / HTTP/3.0\r\nHost: x\r\n\r\n", "505"},
  };
  for (const auto& [bytes, status] : cases) {
    INFO(bytes);
    const UniqueFd client = f.connect();
    Fixture::send(client, bytes);
    const std::string got = f.receive(client, "");
    CHECK_THAT(got, StartsWith("HTTP/1.1 " + status));
    CHECK_THAT(got, ContainsSubstring("Content-Type: application/json\r\n"));
    CHECK_THAT(got, ContainsSubstring("{\"message\":"));
  }
  f.turn([&] { return f.server->connections() == 0; });
}

TEST_CASE("a head that does not get finished is answered 408, an idle connection closed") {
  HttpLimits limits;
  limits.head_timeout = std::chrono::milliseconds(50);
  limits.idle_timeout = std::chrono::milliseconds(50);
  Fixture f(echo, limits);
  const UniqueFd slow = f.connect();
  const UniqueFd idle = f.connect();
  Fixture::send(slow, "GET / HT");
  CHECK_THAT(f.receive(slow, ""), StartsWith("HTTP/1.1 408"));
  CHECK(f.receive(idle, "").empty());
}

TEST_CASE("connections beyond the limit are closed") {
  HttpLimits limits;
  limits.connections_max = 2;
  Fixture f(echo, limits);
  const UniqueFd one = f.connect();
  const UniqueFd two = f.connect();
  f.turn([&] { return f.server->connections() == 2; });
  const UniqueFd three = f.connect();
  CHECK(f.receive(three, "").empty());
  Fixture::send(two, kGet);
  CHECK_THAT(f.receive(two, "/x:"), StartsWith("HTTP/1.1 200"));
}

TEST_CASE("sessions do not take the place of requests, and have a limit of their own") {
  HttpLimits limits;
  limits.connections_max = 1;
  limits.hijacked_max = 2;
  std::vector<ExchangePtr> held;
  Fixture f(
      [&](const ExchangePtr& exchange) {
        if (exchange->request().method == "GET") {
          echo(exchange);
          return;
        }
        exchange->hijack({101, "", {}});
        held.push_back(exchange);
      },
      limits);
  const std::string post = "POST /e HTTP/1.1\r\nHost: x\r\n\r\n";
  UniqueFd one = f.connect();
  Fixture::send(one, post);
  CHECK_THAT(f.receive(one, "\r\n\r\n"), StartsWith("HTTP/1.1 101"));
  const UniqueFd request = f.connect();
  Fixture::send(request, kGet);
  CHECK_THAT(f.receive(request, "/x:"), StartsWith("HTTP/1.1 200"));
  Fixture::send(request, post);
  CHECK_THAT(f.receive(request, "\r\n\r\n"), StartsWith("HTTP/1.1 101"));
  CHECK(f.receive(f.connect(), "").empty());
  one.reset();
  held.front()->end();
  f.turn([&] { return f.server->connections() == 1; });
  const UniqueFd next = f.connect();
  Fixture::send(next, kGet);
  CHECK_THAT(f.receive(next, "/x:"), StartsWith("HTTP/1.1 200"));
  held.clear();
}

TEST_CASE("an answer that grows is chunked, its head comes first") {
  ExchangePtr held;
  bool closed = false;
  Fixture f([&](const ExchangePtr& exchange) {
    held = exchange;
    exchange->begin({200, "application/json", {}});
    exchange->set_handlers({.on_closed = [&] { closed = true; },
                            .on_drained = nullptr,
                            .on_data = nullptr,
                            .on_readable = nullptr,
                            .on_end = nullptr});
  });
  const UniqueFd client = f.connect();
  Fixture::send(client, kGet);
  CHECK_THAT(f.receive(client, "\r\n\r\n"), ContainsSubstring("Transfer-Encoding: chunked\r\n"));
  held->write("hello");
  CHECK(f.receive(client, "hello\r\n") == "5\r\nhello\r\n");
  held->end();
  CHECK(f.receive(client, "0\r\n\r\n") == "0\r\n\r\n");
  CHECK_FALSE(closed);
  CHECK(held->closed());

  Fixture::send(client, kGet);
  f.receive(client, "\r\n\r\n");
  ::shutdown(client.get(), SHUT_RDWR);
  f.turn([&] { return closed; });
  held->write("nobody is there");
  held.reset();
}

TEST_CASE("an exchange that is dropped is answered 500") {
  Fixture f([](const ExchangePtr&) {});
  const UniqueFd client = f.connect();
  Fixture::send(client, kGet);
  CHECK_THAT(f.receive(client, "}"), StartsWith("HTTP/1.1 500"));
}

TEST_CASE(
    "a hijacked connection: bytes sent ahead, half-close, output held until the head is read") {
  ExchangePtr held;
  std::string input;
  bool ended = false;
  Fixture f([&](const ExchangePtr& exchange) {
    held = exchange;
    exchange->set_handlers({.on_closed = nullptr,
                            .on_drained = nullptr,
                            .on_data = [&](std::string_view bytes) { input += bytes; },
                            .on_readable = nullptr,
                            .on_end = [&] { ended = true; }});
    exchange->hijack({101, "application/vnd.docker.raw-stream", {{"Connection", "Upgrade"}}});
    exchange->write("output");
  });
  const UniqueFd client = f.connect();
  Fixture::send(client, "POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}ahead ");
  for (int i = 0; i < 10; ++i) f.loop->poll();
  char bytes[4096];
  const ssize_t n = ::recv(client.get(), bytes, sizeof bytes, 0);
  const std::string head(bytes, static_cast<std::size_t>(n));
  CHECK_THAT(head, StartsWith("HTTP/1.1 101 UPGRADED\r\n"));
  CHECK(head.find("output") == std::string::npos);
  CHECK(f.receive(client, "output") == "output");
  Fixture::send(client, "and more");
  f.turn([&] { return input == "ahead and more"; });
  ::shutdown(client.get(), SHUT_WR);
  f.turn([&] { return ended; });
  held->write("last words");
  held->end();
  CHECK(f.receive(client, "") == "last words");
  f.turn([&] { return f.server->connections() == 0; });
  held.reset();
}

TEST_CASE("what was written before a hijacked exchange was ended and dropped still arrives") {
  Fixture f([&](const ExchangePtr& exchange) {
    exchange->hijack({101, "", {}});
    exchange->write("cannot be executed");
    exchange->end();
  });
  const UniqueFd client = f.connect();
  Fixture::send(client, "POST /e HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK_THAT(f.receive(client, ""), ContainsSubstring("cannot be executed"));
}

TEST_CASE("a client that was gone before its program ran is told as gone") {
  ExchangePtr held;
  Fixture f([&](const ExchangePtr& exchange) {
    exchange->hijack({101, "", {}});
    exchange->pause_reading();
    exchange->write(std::string(1 << 20, 'x'));
    held = exchange;
  });
  UniqueFd client = f.connect();
  Fixture::send(client, "POST /e HTTP/1.1\r\nHost: x\r\n\r\n");
  f.turn([&] { return held != nullptr; });
  client.reset();
  f.turn([&] { return held->closed(); });
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const UniqueFd program(ends[1]);
  ExecFdsOfOurs fds;
  fds.out.reset(ends[0]);
  bool gone = false, done = false;
  auto io = std::make_shared<ExecIo>(*f.loop, std::move(held), ExecIo::Options{},
                                     ExecIo::Handlers{.on_client_gone = [&] { gone = true; },
                                                      .on_detached = nullptr,
                                                      .on_done = [&] { done = true; }});
  io->start(io, std::move(fds));
  CHECK(gone);
  io->exited();
  f.turn([&] { return done; });
}

TEST_CASE("a hijacking client that vanishes after its half-close is noticed") {
  ExchangePtr held;
  bool ended = false, closed = false;
  Fixture f([&](const ExchangePtr& exchange) {
    held = exchange;
    exchange->set_handlers({.on_closed = [&] { closed = true; },
                            .on_drained = nullptr,
                            .on_data = nullptr,
                            .on_readable = nullptr,
                            .on_end = [&] { ended = true; }});
    exchange->hijack({101, "", {}});
  });
  UniqueFd client = f.connect();
  Fixture::send(client, "POST /e HTTP/1.1\r\nHost: x\r\n\r\n");
  f.receive(client, "\r\n\r\n");
  ::shutdown(client.get(), SHUT_WR);
  f.turn([&] { return ended; });
  CHECK_FALSE(closed);
  client.reset();
  f.turn([&] { return closed; });
  held.reset();
}

TEST_CASE("a streamed body comes bit by bit, without a limit") {
  std::size_t received = 0;
  HttpLimits limits;
  limits.body_bytes_max = 10;
  Fixture f(
      [&](const ExchangePtr& exchange) {
        exchange->set_handlers(
            {.on_closed = nullptr,
             .on_drained = nullptr,
             .on_data = [&](std::string_view bytes) { received += bytes.size(); },
             .on_readable = nullptr,
             .on_end =
                 [exchange] {
                   exchange->respond({200, "text/plain", "all", {}});
                 }});
      },
      limits, true);
  const UniqueFd client = f.connect();
  Fixture::send(client, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n");
  for (int i = 0; i < 50; ++i) {
    Fixture::send(client, std::string(1000, 'x'));
    f.loop->poll();
  }
  CHECK_THAT(f.receive(client, "all"), StartsWith("HTTP/1.1 200"));
  CHECK(received == 50'000);
  Fixture::send(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
}

TEST_CASE("a slow reader is bounded by the writer's patience, and others go on") {
  ExchangePtr held;
  int drained = 0;
  Fixture f([&](const ExchangePtr& exchange) {
    if (exchange->request().path == "/x") {
      echo(exchange);
      return;
    }
    held = exchange;
    exchange->begin({200, "text/plain", {}});
    exchange->set_handlers({.on_closed = nullptr,
                            .on_drained = [&] { ++drained; },
                            .on_data = nullptr,
                            .on_readable = nullptr,
                            .on_end = nullptr});
  });
  const UniqueFd slow = f.connect();
  Fixture::send(slow, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
  f.turn([&] { return held != nullptr; });
  const std::string piece(32 * 1024, 'x');
  int pieces = 0;
  while (held->write(piece) && pieces < 1000) ++pieces;
  CHECK(pieces < 1000);
  const UniqueFd other = f.connect();
  Fixture::send(other, kGet);
  CHECK_THAT(f.receive(other, "/x:"), StartsWith("HTTP/1.1 200"));
  CHECK(drained == 0);
  f.turn([&] {
    char bytes[65536];
    while (::recv(slow.get(), bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
    return drained > 0;
  });
  held.reset();
}
