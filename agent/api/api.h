// The Docker-compatible API and the metrics port: routes by topic (system, containers, lifecycle,
// logs, events, exec, attach, stats, archive), access levels, version negotiation.
//
//   ApiServer api(context);
//   api.serve_api(std::move(listening_unix_socket));      // everything
//   api.serve_metrics(std::move(listening_tcp_socket));   // /metrics /healthz /readyz /sd only
#pragma once

#include <memory>

#include "agent/api/context.h"
#include "config/result.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class ApiServer {
 public:
  explicit ApiServer(ApiContext context);
  // Closes all connections.
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  // Takes over a socket that listens already. Fails if it cannot be polled.
  Status serve_api(UniqueFd listener);
  Status serve_metrics(UniqueFd listener);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace keepwell
