#include "runtime/net_probe/http_exchange.h"

#include <algorithm>
#include <boost/beast/http/parser.hpp>

#include "runtime/net_probe/body_regex.h"

namespace keepwell {

namespace http = boost::beast::http;

namespace {

constexpr std::uint32_t kHeadBytesMax = 16 * 1024;
constexpr std::size_t kUnparsedBytesMax = kHeadBytesMax + kNetBodyBytesMax;

constexpr std::size_t kLocationBytesMax = 4096;

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool is_default_port(const HttpCheck& check) {
  return check.port == (check.scheme == "https" ? 443 : 80);
}

std::string host_header(const HttpCheck& check) {
  std::string host = check.tls_server_name.empty() ? check.host : check.tls_server_name;
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  if (!is_default_port(check)) host += ":" + std::to_string(check.port);
  return host;
}

bool iequals(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

// As Beast's string_body, but no Content-Length is believed: that one reserves it at once, and a
// server that promises petabytes would end us with std::bad_alloc.
struct ReceivedBody {
  using value_type = std::string;

  class reader {
   public:
    template <bool IsRequest, class Fields>
    reader(http::header<IsRequest, Fields>&, std::string& body) : body_(body) {}

    void init(const boost::optional<std::uint64_t>&, boost::beast::error_code& error) {
      error = {};
    }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, boost::beast::error_code& error) {
      error = {};
      const std::size_t before = body_.size();
      const auto end = boost::asio::buffer_sequence_end(buffers);
      for (auto each = boost::asio::buffer_sequence_begin(buffers); each != end; ++each) {
        const boost::asio::const_buffer piece = *each;
        body_.append(static_cast<const char*>(piece.data()), piece.size());
      }
      return body_.size() - before;
    }
    void finish(boost::beast::error_code& error) { error = {}; }

   private:
    std::string& body_;
  };
};

}  // namespace

struct HttpExchange::Parser {
  http::response_parser<ReceivedBody> response;
  std::string pending;  // bytes that Beast wants to see again, with more behind them

  Parser() {
    response.header_limit(kHeadBytesMax);
    response.body_limit(std::uint64_t{1}
                        << 62);  // bounded by what we feed; "none" is broken in 1.74
    response.eager(true);
  }
};

HttpExchange::HttpExchange(const HttpCheck& check)
    : check_(&check), parser_(std::make_unique<Parser>()) {
  parser_->response.skip(check.method == "HEAD");
}
HttpExchange::~HttpExchange() = default;

std::string HttpExchange::request() const {
  std::string text = check_->method + " " + check_->path + " HTTP/1.1\r\n";
  bool host = false, agent = false, accept = false;
  for (const auto& [name, value] : check_->headers) {
    text.append(name).append(": ").append(value).append("\r\n");
    host |= iequals(name, "host");
    agent |= iequals(name, "user-agent");
    accept |= iequals(name, "accept");
  }
  if (!host) text += "Host: " + host_header(*check_) + "\r\n";
  if (!agent) text += "User-Agent: keepwell/" KEEPWELL_VERSION "\r\n";
  if (!accept) text += "Accept: */*\r\n";
  if (!check_->content.empty()) {
    text += "Content-Type: application/json\r\nContent-Length: " +
            std::to_string(check_->content.size()) + "\r\n";
  }
  return text + "Connection: close\r\n\r\n" + check_->content;
}

std::optional<NetVerdict> HttpExchange::receive(std::string_view bytes) {
  std::string& pending = parser_->pending;
  pending.append(bytes);
  auto& response = parser_->response;
  while (!pending.empty() && !response.is_done()) {
    boost::beast::error_code error;
    std::size_t used = response.put(boost::asio::buffer(pending.data(), pending.size()), error);
    pending.erase(0, used);
    if (error == http::error::need_more) break;
    if (error)
      return NetVerdict{ProbeEnded::How::http_status,
                        "cannot understand the HTTP response: " + error.message()};
    if (used == 0) break;
  }
  if (!response.is_header_done()) {
    if (pending.size() > kUnparsedBytesMax)
      return NetVerdict{ProbeEnded::How::http_status,
                        "cannot understand the HTTP response: its head has no end"};
    return std::nullopt;
  }
  if (auto verdict = judge_head()) return verdict;
  if (response.is_done() || response.get().body().size() >= kNetBodyBytesMax ||
      pending.size() > kUnparsedBytesMax)
    return judge_body();
  return std::nullopt;
}

NetVerdict HttpExchange::end() {
  auto& response = parser_->response;
  if (!response.is_header_done())
    return {ProbeEnded::How::reset, "the connection was closed before a response came"};
  boost::beast::error_code error;
  response.put_eof(error);
  if (error)
    return {ProbeEnded::How::reset,
            "the connection was closed in the middle of the body; " + seen()};
  return judge_body();
}

// A wrong status is known before the body; a right one is enough where no body is asked for.
std::optional<NetVerdict> HttpExchange::judge_head() const {
  const auto& response = parser_->response.get();
  int status = static_cast<int>(response.result_int());
  if (check_->redirects_max > 0 && is_redirect(status)) {
    auto location = response.find(http::field::location);
    if (location != response.end() && location->value().size() <= kLocationBytesMax)
      return NetVerdict{ProbeEnded::How::http_status, seen(), std::string(location->value())};
  }
  bool wanted = std::any_of(
      check_->statuses.begin(), check_->statuses.end(),
      [&](const auto& range) { return status >= range.first && status <= range.second; });
  if (!wanted) return NetVerdict{ProbeEnded::How::http_status, seen()};
  if (check_->body_regex.empty()) return NetVerdict{ProbeEnded::How::exited, seen()};
  return std::nullopt;
}

NetVerdict HttpExchange::judge_body() const {
  const std::string& body = parser_->response.get().body();
  const std::string_view looked_at(body.data(), std::min(body.size(), kNetBodyBytesMax));
  if (body_matches(check_->body_regex, looked_at)) return {ProbeEnded::How::exited, seen(), {}};
  return {
      ProbeEnded::How::body, "the body does not match " + check_->body_regex + "; " + seen(), {}};
}

std::string HttpExchange::seen() const {
  const auto& response = parser_->response.get();
  std::string text = "HTTP " + std::to_string(response.result_int());
  if (!response.reason().empty()) text += " " + std::string(response.reason());
  if (!response.body().empty()) text += "\n" + response.body().substr(0, kNetBodyBytesMax);
  return text;
}

}  // namespace keepwell
