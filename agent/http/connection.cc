#include "agent/http/connection.h"

#include <utility>

#include "agent/http/head_filter.h"
#include "agent/http/server.h"
#include "config/check.h"
#include "runtime/loop.h"
#include "runtime/socket_state.h"

namespace keepwell {
namespace {

// Sent ahead of its request's end by a client that does not wait for answers.
constexpr std::size_t kPipelinedBytesMax = 64 * 1024;
constexpr Duration kLinger = std::chrono::seconds(1);
constexpr Duration kDrainTime = std::chrono::seconds(5);
bool has_no_body(int status) { return status == 204 || status == 304 || status < 200; }

}  // namespace

Connection::Connection(HttpServer& server, std::optional<PeerCredentials> peer)
    : server_(server),
      peer_(peer),
      deadline_(*server.loop_),
      write_deadline_(*server.loop_),
      soon_(*server.loop_) {}

Connection::~Connection() { detach(); }

Status Connection::start(UniqueFd fd) {
  Stream::Handlers handlers;
  handlers.on_data = [this](std::string_view bytes) { on_data(bytes); };
  handlers.on_readable = [this](Stream&) { return on_readable(); };
  handlers.on_end = [this] { on_end(); };
  handlers.on_broken = [this](const Error&) { on_broken(); };
  handlers.on_drained = [this] { on_drained(); };
  Result<std::unique_ptr<Stream>> stream =
      Stream::open(*server_.loop_, std::move(fd), std::move(handlers));
  if (!stream) return fail(stream.error());
  stream_ = std::move(*stream);
  stream_->resume_reading();
  deadline_.start_after(server_.options_.limits.idle_timeout, [this] { close(); });
  return {};
}

// ---- reading

void Connection::on_data(std::string_view bytes) {
  switch (phase_) {
    case Phase::hijacked:
      tunnel_->received(bytes);
      return;
    case Phase::draining:
    case Phase::lingering:
    case Phase::gone:
      return;
    case Phase::answering:
      // The request was read whole: this is the next one, or belongs to a session to come.
      parser_.feed(bytes);
      if (parser_.buffered() > kPipelinedBytesMax) stream_->pause_reading();
      return;
    case Phase::idle:
    case Phase::head:
    case Phase::body:
      parser_.feed(bytes);
      advance();
      return;
  }
}

bool Connection::on_readable() {
  const std::shared_ptr<Exchange> exchange = alive_exchange_.lock();
  if (!exchange_ || !exchange || !tunnel_ || !tunnel_->passes_on()) return false;
  const std::function<bool(int)> running = exchange->handlers_.on_readable;
  return running && running(stream_->fd());
}

void Connection::advance() {
  switch (parser_.state()) {
    case RequestParser::State::failed:
      refuse(parser_.failure_status(), parser_.failure_text());
      return;
    case RequestParser::State::head:
      if (phase_ == Phase::idle && parser_.started()) {
        phase_ = Phase::head;
        deadline_.start_after(server_.options_.limits.head_timeout,
                              [this] { refuse(408, "request head not complete in time"); });
      }
      return;
    case RequestParser::State::body:
    case RequestParser::State::done:
      if (phase_ != Phase::body) {
        head_complete();
      } else {
        body_bytes();
      }
      return;
  }
}

bool Connection::refuse_host(const HttpRequest& request) const {
  if (!server_.options_.local_hosts_only) return false;
  const std::string* host = find_field(request.fields, "host");
  return host && !is_local_host(*host);
}

void Connection::head_complete() {
  const HttpRequest& request = parser_.request();
  if (refuse_host(request)) {
    refuse(403, "unknown Host");
    return;
  }
  phase_ = Phase::body;
  keep_alive_ =
      request.keep_alive && ++requests_ < server_.options_.limits.requests_per_connection_max;
  chunked_answer_ = false;
  headless_ = request.method == "HEAD";
  body_.clear();
  std::optional<std::size_t> bytes_max = server_.options_.limits.body_bytes_max;
  if (server_.options_.body_bytes_max && request.has_body()) {
    bytes_max = server_.options_.body_bytes_max(request);
  }
  const bool streams = !bytes_max;
  body_mode_ = streams ? Body::streamed : Body::whole;
  body_bytes_max_ = bytes_max.value_or(0);
  if (!streams && request.content_length.value_or(0) > body_bytes_max_) {
    refuse(413, "request body too large");
    return;
  }
  const std::string* expect = find_field(request.fields, "expect");
  if (expect && request.version == 11 && request.has_body() &&
      equal_ignoring_case(*expect, "100-continue"))
    stream_->write("HTTP/1.1 100 Continue\r\n\r\n");
  deadline_.start_after(server_.options_.limits.body_timeout,
                        [this] { refuse(408, "request body not complete in time"); });
  if (streams) {
    dispatch();
    return;
  }
  parser_.feed({});
  body_bytes();
}

void Connection::body_bytes() {
  if (parser_.state() == RequestParser::State::failed) {
    refuse(parser_.failure_status(), parser_.failure_text());
    return;
  }
  if (body_mode_ == Body::streamed) {
    deadline_.start_after(server_.options_.limits.body_timeout, [this] { client_gone(); });
    deliver_body();
    return;
  }
  body_ += parser_.take_body();
  if (body_.size() > body_bytes_max_) {
    refuse(413, "request body too large");
  } else if (parser_.state() == RequestParser::State::done) {
    dispatch();
  }
}

// Calls the handler. What it does at once happens inside; it may also keep the exchange for later.
void Connection::dispatch() {
  auto exchange = std::make_shared<Exchange>(*this, parser_.request());
  exchange->body_ = std::move(body_);
  exchange->peer_ = peer_;
  exchange->started_ = Loop::now().mono;
  exchange_ = exchange.get();
  alive_exchange_ = exchange;
  if (body_mode_ == Body::whole) {
    phase_ = Phase::answering;
    deadline_.stop();
  }
  server_.options_.handler(std::move(exchange));
  if (phase_ == Phase::body && exchange_) {
    soon_.start_after(Duration(0), [this] {
      parser_.feed({});
      body_bytes();
    });
  }
}

void Connection::deliver_body() {
  const std::string bytes = parser_.take_body();
  if (!bytes.empty()) tell(&Exchange::Handlers::on_data, std::string_view(bytes));
  if (phase_ != Phase::body || parser_.state() != RequestParser::State::done) return;
  phase_ = Phase::answering;
  deadline_.stop();
  tell(&Exchange::Handlers::on_end);
}

void Connection::on_end() {
  peer_ended_ = true;
  switch (phase_) {
    case Phase::idle:
    case Phase::head:
    case Phase::lingering:
    case Phase::draining:
      close();
      return;
    case Phase::body:
      client_gone();
      return;
    case Phase::answering:
      // A whole answer still goes out to a client that only half-closed; one that grows has lost
      // its reader, as far as HTTP can tell.
      if (exchange_ && exchange_->answered()) client_gone();
      return;
    case Phase::hijacked:
      tunnel_->peer_ended();
      return;
    case Phase::gone:
      return;
  }
}

void Connection::on_broken() { client_gone(); }

void Connection::client_gone() {
  if (phase_ == Phase::gone) return;
  const std::function<void()> on_closed = closed_handler();
  close();
  if (on_closed) on_closed();
}

std::function<void()> Connection::closed_handler() const {
  return exchange_ ? exchange_->handlers_.on_closed : nullptr;
}

void Connection::refuse(int status, std::string_view text) {
  if (exchange_ && exchange_->answered()) {
    client_gone();
    return;
  }
  const std::function<void()> on_closed = closed_handler();
  keep_alive_ = false;
  const HttpResponse response = error_response(status, text);
  stream_->write(head_bytes({response.status, response.content_type, {{"Connection", "close"}}},
                            response.body.size()) +
                 response.body);
  linger();
  if (on_closed) on_closed();
}

void Connection::pause_reading() {
  if (tunnel_) {
    tunnel_->pause_reading();
  } else {
    stream_->pause_reading();
  }
}

void Connection::resume_reading() {
  if (tunnel_) {
    tunnel_->resume_reading();
  } else {
    stream_->resume_reading();
  }
}

// ---- answering

void Connection::write_head(HttpHead head, std::optional<std::uint64_t> size,
                            std::string_view body) {
  exchange_->status_ = head.status;
  for (auto& field : exchange_->extra_fields_) head.fields.push_back(std::move(field));
  stream_->write(head_bytes(head, size).append(body));
  if (server_.options_.on_answered)
    server_.options_.on_answered(*exchange_, Loop::now().mono - exchange_->started_);
}

void Connection::respond(const HttpResponse& response) {
  HttpHead head{response.status, response.content_type, response.fields};
  std::optional<std::uint64_t> size = response.body.size();
  if (headless_) size = 0;
  if (has_no_body(response.status)) {
    size.reset();
    head.content_type.clear();
  }
  if (phase_ == Phase::body) keep_alive_ = false;  // answered before the body was read
  if (!keep_alive_) head.fields.emplace_back("Connection", "close");
  write_head(std::move(head), size, headless_ || !size ? "" : std::string_view(response.body));
  answer_complete();
}

void Connection::begin(const HttpHead& head) {
  HttpHead complete = head;
  chunked_answer_ = parser_.request().version == 11;
  if (chunked_answer_) {
    complete.fields.emplace_back("Transfer-Encoding", "chunked");
  } else {
    keep_alive_ = false;
  }
  if (phase_ == Phase::body) keep_alive_ = false;
  if (!keep_alive_) complete.fields.emplace_back("Connection", "close");
  write_head(std::move(complete), std::nullopt);
}

void Connection::hijack(const HttpHead& head) {
  keep_alive_ = false;
  write_head(head, std::nullopt);
  phase_ = Phase::hijacked;
  server_.hijacked();
  deadline_.stop();
  Tunnel::Handlers handlers;
  handlers.on_data = [this](std::string_view bytes) { tell(&Exchange::Handlers::on_data, bytes); };
  handlers.on_end = [this] { tell(&Exchange::Handlers::on_end); };
  handlers.on_drained = [this] { tell(&Exchange::Handlers::on_drained); };
  handlers.on_finished = [this] { linger(); };
  handlers.on_vanished = [this] { client_gone(); };
  tunnel_ =
      std::make_unique<Tunnel>(*server_.loop_, *stream_, parser_.take_rest(), std::move(handlers));
}

bool Connection::client_is_there() const { return !peer_has_closed(stream_->fd()); }

bool Connection::write(std::string_view bytes) {
  if (tunnel_) return tunnel_->write(bytes);
  if (bytes.empty() || headless_) return true;
  return stream_->write(chunked_answer_ ? std::string_view(chunk_bytes(bytes)) : bytes);
}

void Connection::end() {
  if (tunnel_) {
    tunnel_->end();
    if (tunnel_->ending()) detach();  // the exchange may go; what it wrote still waits
    return;
  }
  if (chunked_answer_ && !headless_) stream_->write(kLastChunk);
  answer_complete();
}

void Connection::on_drained() {
  if (phase_ == Phase::lingering) {
    deadline_.start_after(kLinger, [this] { close(); });
  } else {
    tell(&Exchange::Handlers::on_drained);
  }
}

void Connection::answer_complete() {
  detach();
  watch_writing();
  if (phase_ == Phase::body) {
    // The rest of the body is thrown away, so that the client gets to reading the answer.
    phase_ = Phase::draining;
    stream_->resume_reading();
    deadline_.start_after(kDrainTime, [this] { linger(); });
    return;
  }
  if (!keep_alive_) {
    linger();
    return;
  }
  soon_.start_after(Duration(0), [this] { next_request(); });
}

void Connection::next_request() {
  phase_ = Phase::idle;
  deadline_.start_after(server_.options_.limits.idle_timeout, [this] { close(); });
  parser_.next();
  if (parser_.feed({}) == RequestParser::State::head && peer_ended_) {
    linger();
    return;
  }
  stream_->resume_reading();
  advance();
}

// Half-closes and waits for the client to close, so that it can read all that was sent.
void Connection::linger() {
  if (phase_ == Phase::gone) return;
  phase_ = Phase::lingering;
  detach();
  soon_.stop();
  if (tunnel_) tunnel_->stop();
  stream_->shutdown_write();
  stream_->resume_reading();
  if (peer_ended_ && stream_->queued() == 0) {
    close();
    return;
  }
  watch_writing();
  deadline_.start_after(kLinger, [this] {
    if (stream_->queued() == 0) close();
  });
}

// Closes when a whole write_timeout brings no progress; idle while nothing is queued.
void Connection::watch_writing() {
  if (stream_->queued() == 0) return;
  stalled_at_ = stream_->queued();
  write_deadline_.start_after(server_.options_.limits.write_timeout, [this] {
    if (stream_->queued() == 0) return;
    if (stream_->queued() >= stalled_at_) {
      client_gone();
    } else {
      watch_writing();
    }
  });
}

// ---- the end

void Connection::detach() {
  if (!exchange_) return;
  exchange_->connection_ = nullptr;
  // They may be running, or own who is.
  server_.retire(std::move(exchange_->handlers_));
  exchange_->handlers_ = {};
  exchange_ = nullptr;
}

void Connection::close() {
  if (phase_ == Phase::gone) return;
  phase_ = Phase::gone;
  detach();
  deadline_.stop();
  write_deadline_.stop();
  soon_.stop();
  if (tunnel_) tunnel_->stop();
  stream_->close();
  server_.forget(*this);
}

// Calls one of the exchange's handlers, which stays alive for the call and may replace its
// handlers.
template <class... FnArgs, class... Args>
void Connection::tell(std::function<void(FnArgs...)> Exchange::Handlers::*handler, Args&&... args) {
  const std::shared_ptr<Exchange> exchange = alive_exchange_.lock();
  if (!exchange_ || !exchange) return;
  const std::function<void(FnArgs...)> running = exchange->handlers_.*handler;
  if (running) running(std::forward<Args>(args)...);
}

}  // namespace keepwell
