// An HTTP/1.1 server on the loop, for one listening socket: the API's unix socket or the metrics
// port. It keeps what the world sends within bounds (sizes, numbers, times), and hands each
// request, its body read, to one handler. It knows no routes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/http/exchange.h"
#include "config/result.h"
#include "config/time.h"
#include "runtime/listener.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class Loop;
class Connection;

struct HttpLimits {
  std::size_t body_bytes_max = 1 << 20;  // where Options::body_bytes_max says nothing
  std::size_t connections_max = 256;     // hijacked ones are counted apart
  std::size_t hijacked_max = 1024;
  std::size_t connections_per_user_max = 32;  // of a unix socket; root has no such limit
  int requests_per_connection_max = 100;
  Duration head_timeout = std::chrono::seconds(5);    // the whole head, from its first byte
  Duration body_timeout = std::chrono::seconds(30);   // the whole body; a streamed one: each pause
  Duration idle_timeout = std::chrono::seconds(60);   // between requests
  Duration write_timeout = std::chrono::seconds(30);  // no byte of a whole answer was taken
};

class HttpServer {
 public:
  struct Options {
    HttpLimits limits;
    bool unix_socket = true;
    // TCP: refuse a Host that is neither localhost nor an address (DNS rebinding).
    bool local_hosts_only = false;
    // Called once per request, from the loop. An exchange that it drops without an answer is
    // answered 500.
    std::function<void(ExchangePtr)> handler;
    // How long REQUEST's body may be; none: it comes through on_data instead of body(), without a
    // limit. Empty: limits.body_bytes_max.
    std::function<std::optional<std::size_t>(const HttpRequest&)> body_bytes_max;
    // After the head of an answer was sent. May be empty.
    std::function<void(const Exchange&, Duration took)> on_answered;
  };

  // Serves FD, which listens already.
  static Result<std::unique_ptr<HttpServer>> open(Loop& loop, UniqueFd fd, Options options);

  // Closes every connection at once; the exchanges that are still held are closed, without
  // on_closed.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::size_t connections() const { return connections_.size(); }

 private:
  friend class Connection;

  HttpServer(Loop& loop, Options options);
  void accept(UniqueFd fd);
  void forget(Connection& connection);
  void hijacked() { ++hijacked_; }
  void retire(Exchange::Handlers handlers);
  void reap_later();

  Loop* loop_;
  Options options_;
  std::unique_ptr<Listener> listener_;
  std::map<Connection*, std::unique_ptr<Connection>> connections_;
  std::size_t hijacked_ = 0;  // of connections_
  std::map<std::uint32_t, std::size_t> per_user_;
  std::vector<std::unique_ptr<Connection>> dead_;  // freed on the loop's next turn
  std::vector<Exchange::Handlers> retired_;        // likewise
  Timer reaper_;
};

}  // namespace keepwell
