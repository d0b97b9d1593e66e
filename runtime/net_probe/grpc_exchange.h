// One call of grpc.health.v1.Health/Check, without a socket: output() is sent, what arrives is fed
// in, and the first verdict stands. HTTP/2 is nghttp2's; the two messages are so small that their
// protobuf is written and read here. Passes only for SERVING.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "config/spec.h"
#include "runtime/net_probe/net_verdict.h"

namespace keepwell {

class GrpcExchange {
 public:
  explicit GrpcExchange(const GrpcCheck& check);  // is not kept
  ~GrpcExchange();
  GrpcExchange(const GrpcExchange&) = delete;
  GrpcExchange& operator=(const GrpcExchange&) = delete;

  // Bytes to be sent now; after construction and after each receive().
  std::string output();

  // Takes what arrived. Nothing: send output(), and more. What is no HTTP/2, or no such answer, is
  // a verdict too (ProbeEnded::How::grpc_status).
  std::optional<NetVerdict> receive(std::string_view bytes);

  // The peer sends no more: the verdict on what it has left out.
  NetVerdict end() const;

 private:
  struct Session;
  std::unique_ptr<Session> session_;
};

}  // namespace keepwell
