// Any bytes as a connection: the head filter and the parser (heads, lengths, chunks, pipelining)
// tell the same story however the bytes were split, and never read past them. Every input is also
// fed split in two at each of its boundaries (up to 600 bytes) and byte by byte. Links: agent
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/http/head_filter.h"
#include "agent/http/query.h"
#include "agent/http/request_parser.h"
#include "config/check.h"

using namespace keepwell;

namespace {

class Reader {
 public:
  void feed(std::string_view piece) {
    parser_.feed(piece);
    while (true) {
      if (parser_.state() == RequestParser::State::body) {
        const std::size_t before = parser_.buffered();
        parser_.feed({});
        body_ += parser_.take_body();
        if (parser_.state() == RequestParser::State::body && parser_.buffered() == before) return;
      } else if (parser_.state() == RequestParser::State::done) {
        finish_request();
      } else {
        return;
      }
    }
  }

  std::string story() const {
    if (parser_.state() == RequestParser::State::failed)
      return story_ + std::to_string(parser_.failure_status()) + parser_.failure_text();
    return story_ + (parser_.started() ? "unfinished" : "") + body_;
  }

 private:
  void finish_request() {
    body_ += parser_.take_body();
    const HttpRequest& request = parser_.request();
    KW_CHECK(!request.method.empty() && request.path.starts_with('/'));
    KW_CHECK(request.version == 10 || request.version == 11);
    KW_CHECK(static_cast<int>(request.fields.size()) <= kHttpFieldsMax);
    if (request.content_length) KW_CHECK(*request.content_length == body_.size());
    story_ += request.method + "\n" + request.path + "\n" + request.query_text + "\n" + body_ +
              "\n" + (request.keep_alive ? "k" : "") + (request.upgrade ? "u" : "");
    for (const auto& [name, value] : request.fields) story_ += name + "=" + value + "\n";
    body_.clear();
    parser_.next();
    parser_.feed({});
  }

  RequestParser parser_;
  std::string story_, body_;
};

std::string read_in_two(std::string_view bytes, std::size_t at) {
  Reader reader;
  reader.feed(bytes.substr(0, at));
  reader.feed(bytes.substr(at));
  return reader.story();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const HeadVerdict verdict = filter_head(bytes);
  if (verdict.kind == HeadVerdict::Kind::complete) {
    KW_CHECK(verdict.bytes <= size && bytes.substr(verdict.bytes - 4, 4) == "\r\n\r\n");
    KW_CHECK(filter_head(bytes.substr(0, verdict.bytes)).bytes == verdict.bytes);
  }
  const std::string whole = read_in_two(bytes, size);
  Reader single;
  for (const char c : bytes) single.feed(std::string_view(&c, 1));
  KW_CHECK(single.story() == whole);
  if (size <= 600)
    for (std::size_t at = 1; at < size; ++at) KW_CHECK(read_in_two(bytes, at) == whole);
  return 0;
}
