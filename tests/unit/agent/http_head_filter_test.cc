// The strict gate: what it lets through, what it refuses with which status, and that neither
// depends on how the bytes were split.
#include "agent/http/head_filter.h"
#include "tests/catch.h"

using namespace keepwell;

namespace {

std::string head(const std::string& fields, const std::string& line = "GET / HTTP/1.1") {
  return line + "\r\n" + fields + "\r\n";
}

// The verdict when BYTES arrive one by one: the first that is not "incomplete".
HeadVerdict byte_by_byte(const std::string& bytes) {
  for (std::size_t length = 0; length <= bytes.size(); ++length) {
    HeadVerdict verdict = filter_head(std::string_view(bytes).substr(0, length));
    if (verdict.kind != HeadVerdict::Kind::incomplete) return verdict;
  }
  return {};
}

int status_of(const std::string& bytes) {
  const HeadVerdict whole = filter_head(bytes);
  const HeadVerdict split = byte_by_byte(bytes);
  CHECK(whole.kind == split.kind);
  CHECK(whole.status == split.status);
  CHECK(whole.bytes == split.bytes);
  CHECK(whole.text == split.text);
  return whole.kind == HeadVerdict::Kind::complete  ? 200
         : whole.kind == HeadVerdict::Kind::refused ? whole.status
                                                    : 0;
}

}  // namespace

TEST_CASE("heads that every parser reads alike pass") {
  CHECK(status_of(head("Host: x\r\n")) == 200);
  CHECK(status_of(head("Host: \r\n")) == 200);
  CHECK(status_of(head("host:x\r\nX-A:\r\nAccept: a b\tc\r\n")) == 200);
  CHECK(status_of(head("Host: [::1]:9790\r\nContent-Length: 0\r\n")) == 200);
  CHECK(status_of(head("Host: x\r\nTransfer-Encoding: chunked\r\n", "POST /a?b=c HTTP/1.1")) ==
        200);
  CHECK(status_of(head("", "GET / HTTP/1.0")) == 200);
  const std::string bytes = head("Host: x\r\n");
  CHECK(filter_head(bytes + "BODY").bytes == bytes.size());
}

TEST_CASE("what could be read in two ways is refused") {
  struct Case {
    const char* name;
    std::string bytes;
    int status;
  };
  const std::vector<Case> cases{
      {"bare LF", "GET / HTTP/1.1\nHost: x\n\n", 400},
      {"bare CR", head("Host: x\r\nX-Abc:\rxTransfer-Encoding: chunked\r\n"), 400},
      {"CR instead of the last LF", "GET / HTTP/1.1\r\nHost: x\r\n\rX", 400},
      {"NUL", head(std::string("Host: x\r\nA: b") + '\0' + "c\r\n"), 400},
      {"control character", head("Host: x\r\nA: b\x01\r\n"), 400},
      {"folded line", head("Host: x\r\nA: b\r\n c\r\n"), 400},
      {"blank before colon", head("Host: x\r\nA : b\r\n"), 400},
      {"blank in name", head("Host: x\r\nA B: b\r\n"), 400},
      {"no colon", head("Host: x\r\nAB\r\n"), 400},
      {"empty name", head("Host: x\r\n: b\r\n"), 400},
      {"no Host", head(""), 400},
      {"two Hosts", head("Host: x\r\nHost: x\r\n"), 400},
      {"odd Host", head("Host: a/b\r\n"), 400},
      {"two lengths", head("Host: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n"), 400},
      {"signed length", head("Host: x\r\nContent-Length: +5\r\n"), 400},
      {"two numbers", head("Host: x\r\nContent-Length: 5 5\r\n"), 400},
      {"list of lengths", head("Host: x\r\nContent-Length: 5, 5\r\n"), 400},
      {"huge length", head("Host: x\r\nContent-Length: 9999999999999999999\r\n"), 400},
      {"other coding", head("Host: x\r\nTransfer-Encoding: gzip\r\n"), 501},
      {"list of codings", head("Host: x\r\nTransfer-Encoding: chunked, identity\r\n"), 501},
      {"nearly chunked", head("Host: x\r\nTransfer-Encoding: xchunked\r\n"), 501},
      {"two codings",
       head("Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400},
      {"length and coding", head("Host: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
       400},
      {"coding in 1.0", head("Host: x\r\nTransfer-Encoding: chunked\r\n", "POST / HTTP/1.0"), 400},
      {"no version", "GET /\r\nHost: x\r\n\r\n", 400},
      {"version 0.9", head("Host: x\r\n", "GET / HTTP/0.9"), 505},
      {"version 9.9", head("Host: x\r\n", "GET / HTTP/9.9"), 505},
      {"absolute target", head("Host: x\r\n", "GET http://x/ HTTP/1.1"), 400},
      {"authority target", head("Host: x\r\n", "CONNECT x:80 HTTP/1.1"), 400},
      {"fragment", head("Host: x\r\n", "GET /a#b HTTP/1.1"), 400},
      {"blank in target", head("Host: x\r\n", "GET /a b HTTP/1.1"), 400},
      {"two blanks", head("Host: x\r\n", "GET  / HTTP/1.1"), 400},
      {"method with odd characters", head("Host: x\r\n", "G(T / HTTP/1.1"), 400},
      {"method without end", head("Host: x\r\n", std::string(40, 'A') + " / HTTP/1.1"), 400},
      {"empty line first", "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"from a web page", head("Host: x\r\nOrigin: http://evil\r\n"), 403},
      {"cross-site", head("Host: x\r\nSec-Fetch-Site: cross-site\r\n"), 403},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    CHECK(status_of(c.bytes) == c.status);
  }
}

TEST_CASE("limits of the head") {
  const std::string long_target = "/" + std::string(kHttpTargetBytesMax, 'a');
  CHECK(status_of(head("Host: x\r\n", "GET " + long_target + " HTTP/1.1")) == 414);
  CHECK(filter_head(std::string(kHttpHeadBytesMax, 'a')).status == 431);
  std::string fields = "Host: x\r\n";
  for (int i = 1; i < kHttpFieldsMax; ++i) fields += "A: b\r\n";
  CHECK(status_of(head(fields)) == 200);
  CHECK(status_of(head(fields + "A: b\r\n")) == 431);
}

TEST_CASE("an unfinished head is not judged yet") {
  const std::string bytes = head("Host: x\r\n");
  for (std::size_t length = 0; length < bytes.size(); ++length)
    CHECK(filter_head(std::string_view(bytes).substr(0, length)).kind ==
          HeadVerdict::Kind::incomplete);
}
