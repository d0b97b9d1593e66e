#include "runtime/net_probe/grpc_exchange.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "config/check.h"

namespace keepwell {

namespace {

constexpr std::size_t kMessageBytesMax = kNetBodyBytesMax;
constexpr std::size_t kTrailerBytesMax = 1024;

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

// HealthCheckRequest{service = 1} behind gRPC's five-byte prefix (not compressed, length).
std::string request_message(const std::string& service) {
  std::string message;
  if (!service.empty()) {
    message.push_back(0x0a);
    append_varint(message, service.size());
    message += service;
  }
  std::string framed(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8)
    framed.push_back(static_cast<char>(message.size() >> shift));
  return framed + message;
}

std::optional<std::uint64_t> read_varint(std::string_view& in) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !in.empty(); shift += 7) {
    auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

// ServingStatus of a HealthCheckResponse{status = 1}; proto3 leaves a zero out.
std::optional<std::uint64_t> serving_status(std::string_view framed) {
  if (framed.size() < 5 || framed[0] != 0) return std::nullopt;
  std::string_view in = framed.substr(5);
  std::uint64_t status = 0;
  while (!in.empty()) {
    auto key = read_varint(in);
    if (!key) return std::nullopt;
    auto value = read_varint(in);
    if (!value) return std::nullopt;
    switch (*key & 7) {
      case 0:
        if (*key >> 3 == 1) status = *value;
        break;
      case 2:
        if (*value > in.size()) return std::nullopt;
        in.remove_prefix(static_cast<std::size_t>(*value));
        break;
      default:
        return std::nullopt;
    }
  }
  return status;
}

const char* status_name(std::uint64_t status) {
  switch (status) {
    case 0:
      return "UNKNOWN";
    case 1:
      return "SERVING";
    case 2:
      return "NOT_SERVING";
    case 3:
      return "SERVICE_UNKNOWN";
    default:
      return "an unknown status";
  }
}

nghttp2_nv header(std::string_view name, std::string_view value) {
  auto bytes = [](std::string_view text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

}  // namespace

struct GrpcExchange::Session {
  nghttp2_session* http2 = nullptr;
  std::string body;  // still to be sent
  std::int32_t stream = -1;
  std::string http_status, grpc_status, grpc_message, message;
  std::string unsent;
  bool closed = false;
  std::uint32_t close_code = 0;

  ~Session() { nghttp2_session_del(http2); }

  static Session& of(void* user) { return *static_cast<Session*>(user); }

  static ssize_t read_body(nghttp2_session*, std::int32_t, std::uint8_t* buffer, std::size_t size,
                           std::uint32_t* flags, nghttp2_data_source* source, void*) noexcept {
    auto& body = *static_cast<std::string*>(source->ptr);
    std::size_t count = std::min(size, body.size());
    std::memcpy(buffer, body.data(), count);
    body.erase(0, count);
    if (body.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(count);
  }

  static int on_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                       std::uint8_t, void* user) noexcept {
    std::string_view key(reinterpret_cast<const char*>(name), name_size);
    std::string_view text(reinterpret_cast<const char*>(value),
                          std::min(value_size, kTrailerBytesMax));
    Session& self = of(user);
    if (key == ":status") self.http_status = text;
    if (key == "grpc-status") self.grpc_status = text;
    if (key == "grpc-message") self.grpc_message = text;
    return 0;
  }

  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t, const std::uint8_t* data,
                     std::size_t size, void* user) noexcept {
    Session& self = of(user);
    std::size_t room = kMessageBytesMax - std::min(kMessageBytesMax, self.message.size());
    self.message.append(reinterpret_cast<const char*>(data), std::min(size, room));
    return 0;
  }

  static int on_close(nghttp2_session*, std::int32_t, std::uint32_t code, void* user) noexcept {
    of(user).closed = true;
    of(user).close_code = code;
    return 0;
  }

  void render() {
    const std::uint8_t* data = nullptr;
    for (;;) {
      ssize_t size = nghttp2_session_mem_send(http2, &data);
      if (size <= 0) return;
      unsent.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
    }
  }

  NetVerdict verdict() const;
};

NetVerdict GrpcExchange::Session::verdict() const {
  auto failed = [](std::string text) {
    return NetVerdict{ProbeEnded::How::grpc_status, std::move(text)};
  };
  if (http_status.empty())
    return {ProbeEnded::How::reset,
            "the call was cut off, HTTP/2 error " + std::to_string(close_code)};
  if (http_status != "200") return failed("not a gRPC answer: HTTP status " + http_status);
  if (grpc_status.empty()) return failed("the answer has no grpc-status");
  if (grpc_status == "12")
    return failed("grpc-status 12: the server has no grpc.health.v1.Health service");
  if (grpc_status != "0") return failed("grpc-status " + grpc_status + ": " + grpc_message);
  auto status = serving_status(message);
  if (!status) return failed("cannot understand the HealthCheckResponse");
  if (*status != 1) return failed(status_name(*status));
  return {ProbeEnded::How::exited, status_name(*status)};
}

GrpcExchange::GrpcExchange(const GrpcCheck& check) : session_(std::make_unique<Session>()) {
  session_->body = request_message(check.service);
  nghttp2_session_callbacks* callbacks = nullptr;
  KW_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Session::on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Session::on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Session::on_close);
  KW_CHECK(nghttp2_session_client_new(&session_->http2, callbacks, session_.get()) == 0);
  nghttp2_session_callbacks_del(callbacks);

  nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                       {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 16 * 1024}};
  nghttp2_submit_settings(session_->http2, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  std::string host =
      check.host.find(':') == std::string::npos ? check.host : "[" + check.host + "]";
  std::string authority = host + ":" + std::to_string(check.port);
  nghttp2_nv headers[] = {header(":method", "POST"),
                          header(":scheme", check.tls ? "https" : "http"),
                          header(":path", "/grpc.health.v1.Health/Check"),
                          header(":authority", authority),
                          header("te", "trailers"),
                          header("content-type", "application/grpc"),
                          header("user-agent", "keepwell/" KEEPWELL_VERSION)};
  nghttp2_data_provider provider{};
  provider.source.ptr = &session_->body;
  provider.read_callback = Session::read_body;
  session_->stream = nghttp2_submit_request(session_->http2, nullptr, headers, std::size(headers),
                                            &provider, nullptr);
}
GrpcExchange::~GrpcExchange() = default;

std::string GrpcExchange::output() {
  session_->render();
  return std::exchange(session_->unsent, {});
}

std::optional<NetVerdict> GrpcExchange::receive(std::string_view bytes) {
  ssize_t used = nghttp2_session_mem_recv(
      session_->http2, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (session_->closed) return session_->verdict();
  // nghttp2 answers a protocol error with GOAWAY and wants no more once that is on its way.
  session_->render();
  if (used < 0 || nghttp2_session_want_read(session_->http2) == 0)
    return NetVerdict{ProbeEnded::How::grpc_status, "cannot speak HTTP/2 with the server"};
  return std::nullopt;
}

NetVerdict GrpcExchange::end() const {
  return {ProbeEnded::How::reset, "the connection was closed before an answer came"};
}

}  // namespace keepwell
