// http, tcp and grpc probes: the exchanges fed byte by byte, and real connections over loopback to
// a server that this test plays on the same loop.
#include "runtime/net_probe/net_probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "runtime/loop.h"
#include "runtime/net_probe/grpc_exchange.h"
#include "runtime/net_probe/http_exchange.h"
#include "tests/catch.h"

using namespace keepwell;
using How = ProbeEnded::How;

namespace {

NetVerdict judge(const HttpCheck& check, std::string_view response, std::size_t step, bool eof) {
  HttpExchange exchange(check);
  for (std::size_t at = 0; at < response.size(); at += step)
    if (auto verdict = exchange.receive(response.substr(at, step))) return *verdict;
  if (eof) return exchange.end();
  return {How::our_fault, "no verdict"};
}

struct Server {
  UniqueFd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  UniqueFd client;
  std::uint16_t port = 0;
  std::string received;

  Server() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
    REQUIRE(::listen(listener.get(), 5) == 0);
    REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
    port = ntohs(address.sin_port);
  }
  // Answers once, as soon as somebody asks.
  void serve(std::string_view answer) {
    if (!client) client.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client || !received.empty()) return;
    char buffer[4096];
    ssize_t count = ::recv(client.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (count <= 0) return;
    received.assign(buffer, static_cast<std::size_t>(count));
    REQUIRE(::send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(answer.size()));
  }
};

NetVerdict run(CheckSpec check, Server* server, std::string_view answer) {
  auto loop = Loop::open();
  REQUIRE(loop);
  std::optional<NetVerdict> verdict;
  {
    auto probe = NetProbe::start(**loop, -1, check, [&](NetVerdict found) { verdict = found; });
    REQUIRE(probe);
    Instant limit = Loop::now().mono + std::chrono::seconds(10);
    while (!verdict && Loop::now().mono < limit) {
      if (server != nullptr) server->serve(answer);
      (*loop)->poll();
    }
  }
  (*loop)->close();
  REQUIRE(verdict);
  return *verdict;
}

}  // namespace

TEST_CASE("an HTTP response gets the same verdict at every split", "[net_probe]") {
  HttpCheck check;
  check.body_regex = "re[a]dy";
  std::string good = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nis ready";
  std::string chunked =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nis r\r\n4\r\neady\r\n0\r\n\r\n";
  std::string bad_body = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbusy";
  std::string bad_status = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
  for (std::size_t step : {1u, 2u, 3u, 7u, 1000u}) {
    CAPTURE(step, judge(check, good, step, false).text);
    CHECK(judge(check, good, step, false).passed());
    CHECK(judge(check, chunked, step, false).passed());
    CHECK(judge(check, bad_body, step, false).how == How::body);
    CHECK(judge(check, bad_status, step, false).how == How::http_status);
    CHECK_THAT(judge(check, bad_status, step, false).text, ContainsSubstring("HTTP 503"));
  }
}

TEST_CASE("what is no HTTP response, or no end of one, is judged and not waited for",
          "[net_probe]") {
  HttpCheck check;
  CHECK(judge(check, "SSH-2.0-OpenSSH\r\n\r\n", 5, true).how == How::http_status);
  CHECK(judge(check, "", 1, true).how == How::reset);
  CHECK(judge(check, "HTTP/1.1 200 OK\r\n", 100, true).how == How::reset);
  check.body_regex = "never there";
  std::string endless = "HTTP/1.1 200 OK\r\n\r\n" + std::string(kNetBodyBytesMax + 100, 'x');
  CHECK(judge(check, endless, 512, false).how == How::body);
  CHECK(judge(check, std::string(100000, 'h'), 1000, false).how == How::http_status);
  std::string long_head = "HTTP/1.1 200 OK\r\n";
  while (long_head.size() < 40000) long_head += "X-Filler: 0123456789\r\n";
  CHECK(judge(check, long_head, 1000, false).how == How::http_status);
}

TEST_CASE("a pattern that would blow up elsewhere is matched in linear time", "[net_probe]") {
  HttpCheck check;
  check.body_regex = "(a+)+$";
  std::string body(9000, 'a');
  CHECK(judge(check, "HTTP/1.1 200 OK\r\nContent-Length: 9001\r\n\r\n" + body + "b", 4096, false)
            .how == How::body);
  CHECK_FALSE(body_regex_fault("re[a]dy"));
  CHECK(body_regex_fault("re[a"));
  CHECK(body_regex_fault("(?<=x)y"));
}

TEST_CASE("the request carries host, port and given headers", "[net_probe]") {
  HttpCheck check;
  check.port = 8080;
  check.path = "/ready?x=1";
  check.headers = {{"User-Agent", "me"}};
  std::string request = HttpExchange(check).request();
  CHECK_THAT(request, StartsWith("GET /ready?x=1 HTTP/1.1\r\n"));
  CHECK_THAT(request, ContainsSubstring("Host: 127.0.0.1:8080\r\n"));
  CHECK_THAT(request, ContainsSubstring("User-Agent: me\r\n"));
  CHECK_THAT(request, !ContainsSubstring("keepwell/"));
}

TEST_CASE("an http probe over loopback passes and fails by what it is told", "[net_probe]") {
  CheckSpec check;
  check.kind = ProbeKind::http;
  {
    Server server;
    check.http.port = server.port;
    CHECK(run(check, &server, "HTTP/1.1 204 No Content\r\n\r\n").passed());
    CHECK_THAT(server.received, StartsWith("GET / HTTP/1.1\r\n"));
  }
  {
    Server server;
    check.http.port = server.port;
    CHECK(run(check, &server, "HTTP/1.1 500 Oops\r\n\r\n").how == How::http_status);
  }
}

TEST_CASE("a port on which nobody listens is refused, a name is not looked up", "[net_probe]") {
  CheckSpec check;
  check.kind = ProbeKind::tcp;
  {
    Server closed;
    check.tcp.port = closed.port;
  }
  CHECK(run(check, nullptr, "").how == How::refused);
  check.tcp.host = "localhost";
  CHECK(run(check, nullptr, "").how == How::refused);
  check.tcp.host = "example.invalid";
  CHECK(run(check, nullptr, "").how == How::dns);
}

TEST_CASE("a tcp probe sends and expects", "[net_probe]") {
  CheckSpec check;
  check.kind = ProbeKind::tcp;
  check.tcp.send = "PING\r\n";
  check.tcp.expect = "+PONG";
  Server server;
  check.tcp.port = server.port;
  CHECK(run(check, &server, "+PONG\r\n").passed());
  CHECK(server.received == "PING\r\n");
}

TEST_CASE("a gRPC check speaks HTTP/2 and calls garbage by its name", "[net_probe]") {
  GrpcCheck check;
  check.port = 50051;
  check.service = "app";
  GrpcExchange exchange(check);
  std::string first = exchange.output();
  CHECK_THAT(first, StartsWith("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
  CHECK_THAT(first, ContainsSubstring("app"));
  auto verdict = exchange.receive("HTTP/1.1 400 Bad Request\r\n\r\n");
  REQUIRE(verdict);
  CHECK(verdict->how == How::grpc_status);
  CHECK(GrpcExchange(check).end().how == How::reset);
}
