// One request and its answer, as an API handler sees them. The handler gets a shared_ptr and may
// keep it for as long as it likes: when the client goes away the exchange is merely closed, further
// calls do nothing, and on_closed says so. Exactly one of three kinds of answer is given:
//
//   respond()                  a whole answer
//   begin() write()... end()   an answer that grows: chunked, each write sent at once
//   hijack() write()... end()  the connection stops being HTTP: raw bytes both ways
//
// Handlers are called from the loop only, never from inside a method of the exchange.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/http/message.h"
#include "config/time.h"
#include "runtime/listener.h"

namespace keepwell {

class Connection;

class Exchange {
 public:
  struct Handlers {
    std::function<void()> on_closed;   // the client is gone, or did not read for too long; once
    std::function<void()> on_drained;  // after write() returned false: everything was sent
    // A streamed body, or what a hijacked connection sends (starting with what came right behind
    // the request). The bytes are valid during the call.
    std::function<void(std::string_view)> on_data;
    // Asked first where a hijacked connection has something to read: it may splice bytes out of
    // SOCKET itself. False: it did not, they are to be read and given to on_data.
    std::function<bool(int socket)> on_readable;
    std::function<void()> on_end;  // no more of it: the body is complete, or the client half-closed
  };

  Exchange(Connection& connection, HttpRequest request);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  const HttpRequest& request() const { return request_; }
  // The whole body; empty while it is streamed.
  const std::string& body() const { return body_; }
  // Of a unix socket; none on TCP.
  const std::optional<PeerCredentials>& peer() const { return peer_; }

  // Fields that go into the head of every answer, whatever it is. REQUIRES: nothing was sent.
  void add_field(std::string name, std::string value);
  // The route pattern, for the metrics. `tag` is the router's.
  void set_route(const char* pattern) { route_ = pattern; }
  const char* route() const { return route_; }
  int status() const { return status_; }  // 0: no answer yet
  Instant started() const { return started_; }

  void set_handlers(Handlers handlers);

  void respond(const HttpResponse& response);
  void fail(int status, std::string_view text) { respond(error_response(status, text)); }

  // Sends the head at once; the body follows with write(), up to end().
  void begin(const HttpHead& head);

  // As begin(), with HEAD as it stands; then raw bytes. The first write is held back until the
  // client has taken the head out of its socket (at most 100 ms): some clients would lose it
  // otherwise. on_data begins on the loop's next turn.
  void hijack(const HttpHead& head);

  // False: more than 64 KiB wait to be sent; go on after on_drained. Taken in both cases.
  bool write(std::string_view bytes);
  std::size_t queued() const;
  // The socket of a hijacked connection, for what comes next to be spliced into; borrowed. -1 while
  // something is still to be written before it.
  int socket_for_splice() const;

  // The answer is complete. A hijacked connection is half-closed, and closed once the client has
  // closed too or a second has passed.
  void end();

  // Cuts the connection, which tells the client that the answer is not whole. No on_closed.
  void abort();

  // Back-pressure on on_data.
  void pause_reading();
  void resume_reading();

  // False once the client has closed its socket, even where on_closed has not come yet.
  bool client_is_there() const;

  bool closed() const { return connection_ == nullptr; }
  bool answered() const { return status_ != 0; }

 private:
  friend class Connection;

  Connection* connection_;
  HttpRequest request_;
  std::string body_;
  std::optional<PeerCredentials> peer_;
  HttpFields extra_fields_;
  Handlers handlers_;
  const char* route_ = "";
  int status_ = 0;
  Instant started_{};
};

using ExchangePtr = std::shared_ptr<Exchange>;

}  // namespace keepwell
