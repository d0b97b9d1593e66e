#include "agent/http/client.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <nlohmann/json.hpp>

#include "runtime/listener.h"
#include "runtime/terminal.h"

namespace keepwell {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr std::size_t kBufferBytes = 64 * 1024;
constexpr std::size_t kHeadBytesMax = 64 * 1024;
constexpr std::size_t kLastChunkBytes = 5;

}  // namespace

std::string ClientResponse::message() const {
  const nlohmann::json parsed = nlohmann::json::parse(body, nullptr, false);
  if (parsed.is_object() && parsed.contains("message") && parsed["message"].is_string())
    return parsed["message"].get<std::string>();
  return body.empty() ? "the agent answered " + std::to_string(status) : body;
}

class HttpClient::Reader : public http::basic_parser<false> {
 public:
  explicit Reader(const std::string& method) {
    header_limit(kHeadBytesMax);
    body_limit(UINT64_MAX);  // Beast 1.74 fails on "none"
    skip(method == "HEAD");
  }

  ClientResponse response;
  std::string body;  // taken by the owner

  // See RequestParser::Reader: a chunk's header is not asked about in pieces.
  bool must_wait(std::size_t bytes) const {
    return is_header_done() && chunked() && left_in_chunk_ == 0 && bytes < kLastChunkBytes;
  }

 private:
  void on_request_impl(http::verb, beast::string_view, beast::string_view, int,
                       beast::error_code&) override {}
  void on_response_impl(int code, beast::string_view, int, beast::error_code&) override {
    response.status = code;
  }
  void on_field_impl(http::field, beast::string_view name, beast::string_view value,
                     beast::error_code&) override {
    response.fields.emplace_back(std::string(name.data(), name.size()),
                                 std::string(value.data(), value.size()));
  }
  void on_header_impl(beast::error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, beast::error_code&) override {}
  std::size_t on_body_impl(beast::string_view bytes, beast::error_code&) override {
    body.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t size, beast::string_view, beast::error_code&) override {
    left_in_chunk_ = size;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view bytes,
                                 beast::error_code&) override {
    body.append(bytes.data(), bytes.size());
    left_in_chunk_ -= bytes.size();
    return bytes.size();
  }
  void on_finish_impl(beast::error_code&) override {}

  std::uint64_t left_in_chunk_ = 0;
};

HttpClient::HttpClient(UniqueFd fd) : fd_(std::move(fd)), buffer_(kBufferBytes, '\0') {}
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;
HttpClient::~HttpClient() = default;

Result<HttpClient> HttpClient::connect(const std::string& path) {
  Result<UniqueFd> fd = connect_unix(path);
  if (!fd)
    return fail(Errc::unavailable, "cannot reach the keepwell agent at unix://" + path + " (" +
                                       fd.error().text +
                                       "): is `keepwell run` running, and is this its run "
                                       "directory? See --host and --run-dir");
  return HttpClient(std::move(*fd));
}

Status HttpClient::send_head(const ClientRequest& request) {
  std::string bytes = request.method + " " + request.target + " HTTP/1.1\r\n";
  bytes += "Host: keepwell\r\nUser-Agent: keepwell/" KEEPWELL_VERSION "\r\n";
  if (request.upgrade) bytes += "Connection: Upgrade\r\nUpgrade: tcp\r\n";
  if (!request.body.empty()) bytes += "Content-Type: " + request.content_type + "\r\n";
  if (request.method != "GET" && request.method != "HEAD")
    bytes += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  return write_all(fd_.get(), bytes + "\r\n" + request.body);
}

Status HttpClient::read_more() {
  const Result<std::string_view> bytes = read_some(fd_.get(), buffer_);
  if (!bytes) return fail(bytes.error().with("cannot read the agent's answer"));
  if (bytes->empty())
    return fail(Errc::unavailable, "cannot read the agent's answer: it closed the connection");
  received_.append(*bytes);
  return {};
}

// Goes one step on: hands READER what is there, or waits for more.
Status HttpClient::advance(Reader& reader) {
  std::size_t used = 0;
  beast::error_code error;
  if (!received_.empty() && !reader.must_wait(received_.size()))
    used = reader.put(boost::asio::const_buffer(received_.data(), received_.size()), error);
  received_.erase(0, used);
  if (error && error != http::error::need_more)
    return fail(Errc::os, "cannot read the agent's answer: " + error.message());
  return used > 0 || reader.is_done() ? Status() : read_more();
}

Status HttpClient::read_head(Reader& reader) {
  while (!reader.is_header_done())
    if (Status advanced = advance(reader); !advanced) return advanced;
  return {};
}

Result<ClientResponse> HttpClient::send(const ClientRequest& request) {
  return stream(request, nullptr);
}

Result<ClientResponse> HttpClient::stream(const ClientRequest& request,
                                          const std::function<bool(std::string_view)>& on_body) {
  Reader reader(request.method);
  Status done = send_head(request);
  if (done) done = read_head(reader);
  if (!done) return fail(done.error());
  const bool streams = on_body && reader.response.ok();
  while (true) {
    if (streams && !reader.body.empty()) {
      const std::string bytes = std::exchange(reader.body, {});
      if (!on_body(bytes)) return std::move(reader.response);
    }
    if (reader.is_done()) break;
    const Status advanced = advance(reader);
    if (!advanced && reader.need_eof()) break;
    if (!advanced) return fail(advanced.error());
  }
  reader.response.body = std::move(reader.body);
  return std::move(reader.response);
}

Result<ClientResponse> HttpClient::hijack(ClientRequest request) {
  request.upgrade = true;
  Reader reader(request.method);
  Status done = send_head(request);
  if (done) done = read_head(reader);
  if (!done) return fail(done.error());
  if (reader.response.status == 101) return std::move(reader.response);
  while (!reader.is_done() && advance(reader)) {
  }
  reader.response.body = std::move(reader.body);
  return std::move(reader.response);
}

std::string HttpClient::take_rest() { return std::exchange(received_, {}); }

}  // namespace keepwell
