// One HTTP/1.1 request and the judgement of its response, without a socket: request() is sent,
// whatever arrives is fed in at any split, and the first verdict stands. Reads no more of a body
// than kNetBodyBytesMax, so an endless one passes or fails by its head. The response is parsed by
// Boost.Beast; the body is matched by RE2 (body_regex.h). A redirect is not judged but handed over,
// where the check follows any: see NetVerdict::location.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "config/spec.h"
#include "runtime/net_probe/net_verdict.h"

namespace keepwell {

class HttpExchange {
 public:
  // REQUIRES: CHECK outlives the exchange.
  explicit HttpExchange(const HttpCheck& check);
  ~HttpExchange();
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  std::string request() const;

  // Takes what arrived. Nothing: send more. A malformed response is ProbeEnded::How::http_status.
  std::optional<NetVerdict> receive(std::string_view bytes);

  // The peer sends no more: a body without a length ends here, anything else was cut off.
  NetVerdict end();

 private:
  struct Parser;
  std::optional<NetVerdict> judge_head() const;
  NetVerdict judge_body() const;
  std::string seen() const;

  const HttpCheck* check_;
  std::unique_ptr<Parser> parser_;
};

}  // namespace keepwell
