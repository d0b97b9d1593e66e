// One connection of an HttpServer: reads requests one after the other, keeps the time limits,
// writes the answers; once hijacked, it is a Tunnel. An Exchange is its face towards the handler.
// Internal to agent/http.
//
//   idle -> reading (head, body) -> answering -> idle ... or hijacked, or closing -> gone
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/http/exchange.h"
#include "agent/http/request_parser.h"
#include "agent/http/tunnel.h"
#include "config/time.h"
#include "runtime/stream.h"
#include "runtime/timer.h"

namespace keepwell {

class HttpServer;

class Connection {
 public:
  Connection(HttpServer& server, std::optional<PeerCredentials> peer);
  ~Connection();

  Status start(UniqueFd fd);

  // ---- what an Exchange asks
  void respond(const HttpResponse& response);
  void begin(const HttpHead& head);
  void hijack(const HttpHead& head);
  bool write(std::string_view bytes);
  void end();
  void abort() { close(); }
  void pause_reading();
  void resume_reading();
  std::size_t queued() const { return stream_->queued() + (tunnel_ ? tunnel_->held_bytes() : 0); }

  int socket_for_splice() const { return tunnel_ ? tunnel_->socket_for_splice() : -1; }

  const std::optional<PeerCredentials>& peer() const { return peer_; }
  bool client_is_there() const;
  bool was_hijacked() const { return tunnel_ != nullptr; }

 private:
  enum class Phase { idle, head, body, answering, hijacked, draining, lingering, gone };
  enum class Body { whole, streamed };

  void on_data(std::string_view bytes);
  bool on_readable();
  void on_end();
  void on_broken();
  void on_drained();

  void advance();
  void head_complete();
  bool refuse_host(const HttpRequest& request) const;
  void body_bytes();
  void dispatch();
  void deliver_body();
  void refuse(int status, std::string_view text);
  void write_head(HttpHead head, std::optional<std::uint64_t> size, std::string_view body = {});
  void answer_complete();
  void next_request();
  void linger();
  void watch_writing();
  void client_gone();
  std::function<void()> closed_handler() const;
  void close();
  void detach();
  template <class... FnArgs, class... Args>
  void tell(std::function<void(FnArgs...)> Exchange::Handlers::*handler, Args&&... args);

  HttpServer& server_;
  std::optional<PeerCredentials> peer_;
  std::unique_ptr<Stream> stream_;
  RequestParser parser_;
  Exchange* exchange_ = nullptr;            // who is being answered
  std::weak_ptr<Exchange> alive_exchange_;  // the same, to keep it during a call
  Phase phase_ = Phase::idle;
  Body body_mode_ = Body::whole;
  std::size_t body_bytes_max_ = 0;  // of this request
  std::string body_;
  bool peer_ended_ = false;
  bool chunked_answer_ = false;
  bool headless_ = false;  // the answer has no body, whatever is written: HEAD
  bool keep_alive_ = true;
  int requests_ = 0;
  std::size_t stalled_at_ = 0;
  Timer deadline_;                  // head, body, idle, linger
  Timer write_deadline_;            // a whole answer must be taken
  Timer soon_;                      // puts things off to the next turn
  std::unique_ptr<Tunnel> tunnel_;  // once hijacked, and ever after; uses stream_
};

}  // namespace keepwell
