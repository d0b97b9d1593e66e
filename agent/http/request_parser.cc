#include "agent/http/request_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>

#include "agent/http/head_filter.h"
#include "config/check.h"

namespace keepwell {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

// The line of a chunk's size, its extensions, and the trailer, which are all thrown away.
constexpr std::size_t kFramingBytesMax = 16 * 1024;

constexpr std::size_t kLastChunkBytes = 5;  // "0\r\n\r\n"

std::string copy(beast::string_view text) { return std::string(text.data(), text.size()); }

}  // namespace

class RequestParser::Reader : public http::basic_parser<true> {
 public:
  Reader(HttpRequest& request, std::string& body) : request_(request), body_(body) {
    header_limit(kHttpHeadBytesMax + 1024);
    body_limit(UINT64_MAX);  // the receiver of the body counts (Beast 1.74 fails on "none")
  }

  // Whether what comes next is a chunk's header or the trailer, and BYTES are too few for the
  // shortest way to end: Beast 1.74 asserts that it is not asked about such a piece twice.
  bool must_wait(std::size_t bytes) const {
    return chunked() && left_in_chunk_ == 0 && bytes < kLastChunkBytes;
  }

 private:
  void on_request_impl(http::verb, beast::string_view method, beast::string_view target,
                       int version, beast::error_code&) override {
    request_.method = copy(method);
    const std::string whole = copy(target);
    const std::size_t mark = whole.find('?');
    request_.path = whole.substr(0, mark);
    if (mark != std::string::npos) request_.query_text = whole.substr(mark + 1);
    request_.version = version;
  }
  void on_response_impl(int, beast::string_view, int, beast::error_code&) override {}
  void on_field_impl(http::field, beast::string_view name, beast::string_view value,
                     beast::error_code&) override {
    if (!in_trailer_) request_.fields.emplace_back(copy(name), copy(value));
  }
  void on_header_impl(beast::error_code&) override { in_trailer_ = true; }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, beast::error_code&) override {}
  std::size_t on_body_impl(beast::string_view bytes, beast::error_code&) override {
    body_.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t size, beast::string_view, beast::error_code&) override {
    left_in_chunk_ = size;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view bytes,
                                 beast::error_code&) override {
    body_.append(bytes.data(), bytes.size());
    left_in_chunk_ -= bytes.size();
    return bytes.size();
  }
  void on_finish_impl(beast::error_code&) override {}

  HttpRequest& request_;
  std::string& body_;
  bool in_trailer_ = false;
  std::uint64_t left_in_chunk_ = 0;
};

RequestParser::RequestParser() = default;
RequestParser::~RequestParser() = default;

RequestParser::State RequestParser::fail(int status, std::string text) {
  failure_status_ = status;
  failure_text_ = std::move(text);
  return state_ = State::failed;
}

RequestParser::State RequestParser::feed(std::string_view bytes) {
  if (state_ == State::failed) return state_;
  buffer_.append(bytes);
  if (state_ == State::head) return read_head();
  if (state_ == State::body) return read_body();
  return state_;
}

RequestParser::State RequestParser::read_head() {
  const HeadVerdict verdict = filter_head(buffer_);
  if (verdict.kind == HeadVerdict::Kind::incomplete) return state_;
  if (verdict.kind == HeadVerdict::Kind::refused) return fail(verdict.status, verdict.text);

  request_ = {};
  body_.clear();
  reader_ = std::make_unique<Reader>(request_, body_);
  beast::error_code error;
  const std::size_t used =
      reader_->put(boost::asio::const_buffer(buffer_.data(), verdict.bytes), error);
  if (error || used != verdict.bytes || !reader_->is_header_done())
    return fail(400, "malformed HTTP request");
  request_.keep_alive = reader_->keep_alive();
  request_.upgrade = reader_->upgrade();
  request_.chunked = reader_->chunked();
  if (const auto length = reader_->content_length()) request_.content_length = *length;
  buffer_.erase(0, used);
  return state_ = reader_->is_done() ? State::done : State::body;
}

RequestParser::State RequestParser::read_body() {
  std::size_t position = 0;
  while (!reader_->is_done() && position < buffer_.size() &&
         !reader_->must_wait(buffer_.size() - position)) {
    beast::error_code error;
    const std::size_t used = reader_->put(
        boost::asio::const_buffer(buffer_.data() + position, buffer_.size() - position), error);
    position += used;
    if (error == http::error::need_more) {
      if (used == 0) break;
      continue;
    }
    if (error) return fail(400, "malformed request body");
  }
  buffer_.erase(0, position);
  if (reader_->is_done()) return state_ = State::done;
  if (buffer_.size() > kFramingBytesMax) return fail(400, "chunk header too large");
  return state_;
}

std::string RequestParser::take_body() {
  std::string taken = std::move(body_);
  body_.clear();
  return taken;
}

std::string RequestParser::take_rest() {
  KW_CHECK(state_ == State::done);
  std::string rest = std::move(buffer_);
  buffer_.clear();
  return rest;
}

void RequestParser::next() {
  KW_CHECK(state_ == State::done);
  reader_.reset();
  state_ = State::head;
}

}  // namespace keepwell
