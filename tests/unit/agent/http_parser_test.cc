// Requests out of bytes, whatever the pieces they come in; queries; frames.
#include "agent/http/query.h"
#include "agent/http/request_parser.h"
#include "agent/http/stream_frames.h"
#include "tests/catch.h"

using namespace keepwell;

namespace {

// All that came out of BYTES, as text that can be compared.
std::string story(const std::vector<std::string>& pieces) {
  RequestParser parser;
  std::string story;
  std::string body;
  const auto settle = [&] {
    while (true) {
      if (parser.state() == RequestParser::State::body) {
        body += parser.take_body();
        const auto before = parser.buffered();
        parser.feed({});
        body += parser.take_body();
        if (parser.state() == RequestParser::State::body && parser.buffered() == before) return;
      } else if (parser.state() == RequestParser::State::done) {
        body += parser.take_body();
        const HttpRequest& request = parser.request();
        story += request.method + " " + request.path + "?" + request.query_text + " {" + body +
                 "}" + (request.keep_alive ? "" : " close") + (request.upgrade ? " upgrade" : "") +
                 ";";
        body.clear();
        parser.next();
        parser.feed({});
      } else {
        return;
      }
    }
  };
  for (const std::string& piece : pieces) {
    parser.feed(piece);
    settle();
  }
  if (parser.state() == RequestParser::State::failed)
    return story + std::to_string(parser.failure_status());
  return story + (parser.started() ? "unfinished" : "");
}

// The same for every split in two, and byte by byte.
std::string same_for_every_split(const std::string& bytes) {
  const std::string whole = story({bytes});
  std::vector<std::string> single;
  for (const char c : bytes) single.emplace_back(1, c);
  CHECK(story(single) == whole);
  for (std::size_t at = 1; at < bytes.size(); ++at)
    CHECK(story({bytes.substr(0, at), bytes.substr(at)}) == whole);
  return whole;
}

}  // namespace

TEST_CASE("requests are read alike however they were split") {
  CHECK(same_for_every_split("GET /a?b=1 HTTP/1.1\r\nHost: x\r\n\r\n") == "GET /a?b=1 {};");
  CHECK(same_for_every_split("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello") ==
        "POST /a? {hello};");
  CHECK(same_for_every_split("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n") ==
        "POST /a? {abcde};");
  CHECK(same_for_every_split("GET / HTTP/1.0\r\n\r\n") == "GET /? {} close;");
  CHECK(same_for_every_split("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") ==
        "GET /? {} close;");
  CHECK(same_for_every_split("POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                             "\r\n") == "POST /? {} upgrade;");
  // Pipelined, with a body between.
  CHECK(same_for_every_split("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
                             "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n") == "POST /1? {ab};GET /2? {};");
}

TEST_CASE("broken requests fail alike however they were split") {
  CHECK(same_for_every_split("GET / HTTP/1.1\nHost: x\n\n") == "400");
  CHECK(same_for_every_split("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "zz\r\nabc\r\n") == "400");
  CHECK(same_for_every_split("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "3\r\nabcd\r\n0\r\n\r\n") == "400");
  CHECK(same_for_every_split("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel") ==
        "unfinished");
}

TEST_CASE("an empty chunked body may come in any pieces") {
  CHECK(same_for_every_split("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "0\r\n\r\n") == "POST /? {};");
}

TEST_CASE("a chunk header without end is refused") {
  RequestParser parser;
  parser.feed("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  parser.feed("3;" + std::string(20'000, 'a'));
  CHECK(parser.state() == RequestParser::State::failed);
}

TEST_CASE("what follows the request stays for the session") {
  RequestParser parser;
  parser.feed("POST /exec HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}typed ahead");
  CHECK(parser.feed({}) == RequestParser::State::done);
  CHECK(parser.take_body() == "{}");
  CHECK(parser.take_rest() == "typed ahead");
}

TEST_CASE("queries") {
  const Result<Query> query = Query::parse("a=1&b=x+y%20z&&c&a=2&filters=%7B%22a%22%3A1%7D");
  REQUIRE(query);
  CHECK(query->text("a") == "1");
  CHECK(query->text("b") == "x y z");
  CHECK(query->find("c") != nullptr);
  CHECK(query->find("d") == nullptr);
  CHECK(query->text("filters") == "{\"a\":1}");
  for (const char* bad : {"%", "%4", "%zz", "a=%00", "a%"}) {
    INFO(bad);
    CHECK_FALSE(Query::parse(bad));
  }
}

TEST_CASE("booleans and numbers as Docker reads them") {
  for (const char* no : {"", "0", "no", "No", "false", "False", "none", " 0 "})
    CHECK_FALSE(query_flag(no));
  for (const char* yes : {"1", "true", "True", "yes", "2", "x"}) CHECK(query_flag(yes));
  const Result<Query> query = Query::parse("t=-1&w=80&h=x&big=99999999999999999999&empty=");
  REQUIRE(query);
  CHECK(query->number("t").value() == -1);
  CHECK(query->number("w").value() == 80);
  CHECK_FALSE(query->number("empty").value());
  CHECK_FALSE(query->number("none").value());
  CHECK_THAT(query->number("h").error().text, ContainsSubstring("invalid syntax"));
  CHECK_THAT(query->number("big").error().text, ContainsSubstring("value out of range"));
}

TEST_CASE("paths") {
  CHECK(split_path("/a//b%20c/").value() == std::vector<std::string>{"a", "b c"});
  CHECK(split_path("/%2Fname").value() == std::vector<std::string>{"/name"});
  CHECK(split_path("/").value().empty());
  CHECK_FALSE(split_path("/%00"));
  CHECK_FALSE(split_path(std::string_view("/a\0b", 4)));
  CHECK(percent_decode(percent_encode("a b/c%\x01\xff"), false).value() == "a b/c%\x01\xff");
}

TEST_CASE("frames go through unchanged, however they were split") {
  const std::string big(100'000, 'x');
  const std::string bytes = frame_bytes(FrameStream::out, "one") +
                            frame_bytes(FrameStream::err, "two") +
                            frame_bytes(FrameStream::out, big);
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, bytes.size()}) {
    FrameSplitter splitter;
    std::string out, err;
    for (std::size_t at = 0; at < bytes.size(); at += step)
      REQUIRE(splitter.feed(std::string_view(bytes).substr(at, step),
                            [&](std::uint8_t stream, std::string_view payload) {
                              (stream == 1 ? out : err).append(payload);
                              return true;
                            }));
    CHECK(out == "one" + big);
    CHECK(err == "two");
    CHECK_FALSE(splitter.inside());
  }
  FrameSplitter bad;
  CHECK_FALSE(bad.feed("HTTP/1.1 400", [](std::uint8_t, std::string_view) { return true; }));
  CHECK(bad.bad());
}
