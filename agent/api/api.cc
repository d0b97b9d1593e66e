#include "agent/api/api.h"

#include "agent/api/router.h"
#include "agent/event_bus.h"
#include "agent/exec_sessions.h"
#include "agent/http/server.h"
#include "exporters/agent_stats.h"
#include "exporters/duration_stats.h"
#include "runtime/loop.h"

namespace keepwell {

struct ApiServer::State {
  ApiContext context;
  AccessRules rules;
  std::unique_ptr<ExecSessions> execs;
  EventBus::Subscription subscription;
  std::unique_ptr<HttpServer> api;
  std::unique_ptr<HttpServer> metrics;

  void answered(const Exchange& exchange, Duration took) const {
    if (!context.stats) return;
    const std::string route = *exchange.route() ? exchange.route() : "unknown";
    ApiRouteStats& stats = context.stats->api[{route, exchange.request().method}];
    const int status_class = exchange.status() / 100;
    if (status_class >= 1 && status_class <= 5)
      ++stats.by_class[static_cast<std::size_t>(status_class - 1)];
    observe(stats.duration, took, kApiDurationBounds);
  }

  HttpServer::Options options(bool public_port) {
    HttpServer::Options options;
    options.unix_socket = !public_port;
    options.handler = [this, public_port](const ExchangePtr& exchange) {
      route_request(context, rules, public_port, exchange);
    };
    if (!public_port) options.body_bytes_max = route_body_bytes_max;
    options.on_answered = [this](const Exchange& exchange, Duration took) {
      answered(exchange, took);
    };
    if (public_port) {
      options.limits.body_bytes_max = 4096;
      options.limits.connections_max = 64;
    }
    return options;
  }
};

ApiServer::ApiServer(ApiContext context) : state_(std::make_unique<State>()) {
  state_->context = std::move(context);
  // A session's records must not outlive the agent that knows its process: ids start anew with
  // each.
  const Now now = Loop::now();
  state_->execs = std::make_unique<ExecSessions>(
      *state_->context.loop, static_cast<std::uint64_t>(now.wall.time_since_epoch().count()) ^
                                 static_cast<std::uint64_t>(now.mono.time_since_epoch().count()));
  state_->context.execs = state_->execs.get();
  state_->subscription =
      state_->context.events->subscribe([execs = state_->execs.get()](const Event& event) {
        if (event.action == "die" || event.action == "destroy") execs->container_ended(event.id);
      });
}

ApiServer::~ApiServer() = default;

Status ApiServer::serve_api(UniqueFd listener) {
  Result<std::unique_ptr<HttpServer>> server =
      HttpServer::open(*state_->context.loop, std::move(listener), state_->options(false));
  if (!server) return fail(server.error().with("cannot serve the API"));
  state_->api = std::move(*server);
  return {};
}

Status ApiServer::serve_metrics(UniqueFd listener) {
  HttpServer::Options options = state_->options(true);
  const std::string address = local_address(listener.get());
  options.local_hosts_only = address.starts_with("127.") || address.starts_with("[::1]");
  Result<std::unique_ptr<HttpServer>> server =
      HttpServer::open(*state_->context.loop, std::move(listener), std::move(options));
  if (!server) return fail(server.error().with("cannot serve metrics"));
  state_->metrics = std::move(*server);
  return {};
}

}  // namespace keepwell
