// http, tcp and grpc probes: the exchanges fed byte by byte, and real connections over loopback to
// a server that this test plays on the same loop.
#include "runtime/net_probe/net_probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "runtime/hmac.h"
#include "runtime/loop.h"
#include "runtime/net_probe/body_regex.h"
#include "runtime/net_probe/grpc_exchange.h"
#include "runtime/net_probe/http_exchange.h"
#include "runtime/net_probe/redirect.h"
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
  CHECK(body_regex_fault("((a{1,100}){1,100}){1,100}"));
  CHECK(body_regex_fault(std::string(5000, 'a')));
  CHECK_FALSE(body_matches("re[a", "re[a"));
  CHECK(body_matches("^re[a]dy$", "ready"));
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

TEST_CASE("a response that promises petabytes costs what has come of it", "[net_probe]") {
  HttpCheck check;
  check.body_regex = "ready";
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 9999999999991999\r\n\r\n";
  const NetVerdict cut_off = judge(check, head + "re", 1, true);
  CHECK(cut_off.how == How::reset);
  CHECK_THAT(cut_off.text, ContainsSubstring("in the middle of the body"));
  CHECK(judge(check, head + "ready" + std::string(100'000, '.'), 4096, false).how == How::exited);
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

TEST_CASE("a redirect leads to the check's own host, or to one that is allowed", "[net_probe]") {
  HttpCheck from;
  from.port = 8080;
  from.path = "/a";
  from.redirects_max = 3;
  from.redirect_hosts = {"10.0.0.1"};
  from.headers = {{"Host", "shop.example:80"}, {"Authorization", "x"}, {"X-Other", "y"}};
  auto to = [&](const std::string& location) { return redirected(from, location); };
  CHECK(to("/b?c")->path == "/b?c");
  CHECK(to("/b?c")->port == 8080);
  CHECK(to("/b#part")->path == "/b");
  CHECK(to("/b")->redirects_max == 2);
  CHECK(to("http://localhost:81/x")->host == "127.0.0.1");
  CHECK(to("http://localhost:81/x")->port == 81);
  CHECK(to("https://127.0.0.1")->port == 443);
  CHECK(to("HTTPS://shop.example/x")->scheme == "https");
  CHECK(to("//shop.example/x")->host == "127.0.0.1");
  CHECK(to("http://[::1]:9/?q")->path == "/?q");
  CHECK(to("http://[::1]:9/?q")->port == 9);
  Result<HttpCheck> other = to("http://10.0.0.1/x");
  REQUIRE(other);
  CHECK(other->host == "10.0.0.1");
  CHECK(other->headers == std::vector<std::pair<std::string, std::string>>{{"X-Other", "y"}});
  for (const char* away :
       {"http://192.0.2.1/", "http://10.0.0.1.evil/", "ftp://127.0.0.1/", "file:///etc/passwd",
        "http://127.0.0.1@192.0.2.1/", "http://127.0.0.1:99999/", "http://127.0.0.1:/", "http:///x",
        "x", "", "http://a b/", "/a\r\nX: y", "javascript:alert(1)"}) {
    INFO(away);
    CHECK_FALSE(to(away));
  }
}

TEST_CASE("a redirect is followed as often as allowed, then judged", "[net_probe]") {
  CheckSpec check;
  check.kind = ProbeKind::http;
  check.http.statuses = {{200, 299}};
  Server server;
  check.http.port = server.port;
  const std::string again = "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n";
  CHECK_THAT(run(check, &server, again).text, ContainsSubstring("HTTP 302"));
  server.client.reset();
  server.received.clear();
  check.http.redirects_max = 1;
  auto loop = Loop::open();
  REQUIRE(loop);
  std::optional<NetVerdict> verdict;
  int requests = 0;
  {
    auto probe = NetProbe::start(**loop, -1, check, [&](NetVerdict found) { verdict = found; });
    REQUIRE(probe);
    const Instant limit = Loop::now().mono + std::chrono::seconds(10);
    while (!verdict && Loop::now().mono < limit) {
      server.serve(again);
      if (!server.received.empty()) {
        ++requests;
        if (requests == 2) CHECK_THAT(server.received, StartsWith("GET /again HTTP/1.1\r\n"));
        server.received.clear();
        server.client.reset();
      }
      (*loop)->poll();
    }
  }
  (*loop)->close();
  REQUIRE(verdict);
  CHECK(verdict->how == How::http_status);
  CHECK(requests == 2);
}

TEST_CASE("a peer that floods is cut off long before the timeout", "[net_probe]") {
  for (const ProbeKind kind : {ProbeKind::http, ProbeKind::tcp, ProbeKind::grpc}) {
    CheckSpec check;
    check.kind = kind;
    check.http.body_regex = "never";
    check.tcp.expect = "never";
    Server server;
    check.http.port = check.tcp.port = check.grpc.port = server.port;
    // Valid HTTP/2, and nothing but it: empty SETTINGS, then PINGs.
    std::string ping(
        "\x00\x00\x08\x06\x00\x00\x00\x00\x00"
        "12345678",
        17);
    std::string flood = kind == ProbeKind::grpc
                            ? std::string("\x00\x00\x00\x04\x00\x00\x00\x00\x00", 9)
                        : kind == ProbeKind::http ? "HTTP/1.1 200 OK\r\n\r\n"
                                                  : "";
    auto loop = Loop::open();
    REQUIRE(loop);
    std::optional<NetVerdict> verdict;
    std::uint64_t sent = 0;
    {
      auto probe = NetProbe::start(**loop, -1, check, [&](NetVerdict found) { verdict = found; });
      REQUIRE(probe);
      const Instant limit = Loop::now().mono + std::chrono::seconds(20);
      while (!verdict && Loop::now().mono < limit) {
        if (!server.client)
          server.client.reset(
              ::accept4(server.listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        while (flood.size() < 8192)
          flood += kind == ProbeKind::grpc ? ping : std::string(4096, 'x');
        if (server.client) {
          const ssize_t count =
              ::send(server.client.get(), flood.data(), flood.size(), MSG_NOSIGNAL);
          if (count > 0) {
            flood.erase(0, static_cast<std::size_t>(count));
            sent += static_cast<std::uint64_t>(count);
          }
        }
        (*loop)->poll();
      }
    }
    (*loop)->close();
    INFO(static_cast<int>(kind) << " after " << sent);
    REQUIRE(verdict);
    CHECK_FALSE(verdict->passed());
    CHECK(sent < 16u << 20);
  }
}

TEST_CASE("signatures are those of RFC 4231", "[net_probe]") {
  CHECK(hmac_sha256(std::string(20, '\x0b'), "Hi There") ==
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  CHECK(hmac_sha256("Jefe", "what do ya want for nothing?") ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}
