// From a request to the function that answers it: the version in front of the path, the caller's
// access level, the route table. Internal to agent/api.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/api/context.h"
#include "agent/http/exchange.h"
#include "agent/http/query.h"
#include "config/result.h"

namespace keepwell {

// The newest version of Docker's API that we speak is 1.50; calls say what the client asked for.
inline constexpr int kApiMinorMax = 50;
inline constexpr int kApiMinorMin = 12;

enum class Access { none, read, admin };

// One request on its way through the API. Copied by handlers that answer later.
struct ApiCall {
  ExchangePtr exchange;
  const ApiContext* api = nullptr;
  Query query;
  std::vector<std::string> params;  // what {id} and the like stood for, decoded
  int minor = kApiMinorMax;         // 47 for /v1.47/...
  Access access = Access::none;     // of the caller
};

using ApiHandler = void (*)(const ApiCall& call);

struct Route {
  const char* method;   // HEAD is asked of GET where no HEAD is listed
  const char* pattern;  // segments, {x} for one, {x*} (last) for one or more
  ApiHandler handler;
  bool public_port = false;              // also on the metrics port
  bool streams_body = false;             // the body comes bit by bit
  std::size_t body_bytes_max = 1 << 20;  // of a body that does not
};

// All routes of the API, by topic.
std::span<const Route> system_routes();
std::span<const Route> container_routes();
std::span<const Route> lifecycle_routes();
std::span<const Route> log_routes();
std::span<const Route> event_routes();
std::span<const Route> exec_routes();
std::span<const Route> attach_routes();
std::span<const Route> stats_routes();
std::span<const Route> archive_routes();
std::span<const Route> journal_routes();
std::span<const Route> guard_routes();
std::span<const Route> image_routes();
std::span<const Route> check_routes();
std::span<const Route> network_routes();
std::span<const Route> elsewhere_routes();  // what is answered 501 with the place where it is done

struct RouteMatch {
  const Route* route = nullptr;
  std::vector<std::string> params;
};
// The route for METHOD and the decoded SEGMENTS behind the version; none: route is null.
RouteMatch find_route(std::string_view method, const std::vector<std::string>& segments);

// "v1.47" -> 47; -1 for a segment that is no version. Every part saturates at 9999, so that a
// version that is too new stays too new; major versions other than 1 are beyond either end.
int api_minor_of(std::string_view segment);

// Who may do what, from x-keepwell.api of the configuration. Users and groups are looked up in the
// host's files when the configuration changes.
class AccessRules {
 public:
  AccessRules();
  ~AccessRules();
  Access access_of(const PeerCredentials& peer, const std::shared_ptr<const ProjectSpec>& project);

 private:
  struct Resolved;
  std::unique_ptr<Resolved> resolved_;
};

// Answers CALL's request, whatever it is. PUBLIC_PORT: the metrics port, where only some routes
// are.
void route_request(const ApiContext& api, AccessRules& rules, bool public_port,
                   const ExchangePtr& exchange);

// How long a body REQUEST's route takes; none: bit by bit, of any length.
std::optional<std::size_t> route_body_bytes_max(const HttpRequest& request);

// ---- helpers of the handlers

// The status for an Errc; a conflict without text is 304, "nothing to do".
int http_status(const Error& error);
void fail_call(const ApiCall& call, const Error& error);
void respond_json(const ApiCall& call, std::string json, int status = 200);

// The connection stops being HTTP: 101 to a client that asked for an upgrade, 200 to one that knows
// of none. MULTIPLEXED: what follows is in frames (agent/http/stream_frames.h).
void hijack_stream(const ApiCall& call, bool multiplexed);
inline constexpr const char* kRawStream = "application/vnd.docker.raw-stream";
inline constexpr const char* kMultiplexedStream = "application/vnd.docker.multiplexed-stream";

// By full id, container name (with or without a slash in front), service name where it means one
// container, or unique id prefix; in this order. Errors in Docker's words.
Result<const ContainerStatus*> find_container(const ApiContext& api, std::string_view name);

// As find_container with the first parameter; answers the call itself and returns null where there
// is none.
const ContainerStatus* container_of(const ApiCall& call);

// Publishes ACTION of the container ID, if it is still known.
void publish_event(const ApiContext& api, const std::string& id, std::string action,
                   std::vector<std::pair<std::string, std::string>> attributes = {});

// h and w of a resize; none if the call was answered.
std::optional<std::pair<int, int>> read_resize(const ApiCall& call);

// Whether its first process runs (also paused, stopping).
bool is_running(const ContainerStatus& container);
// As Docker's State.Restarting: between an end and the next start.
bool is_restarting(const ContainerStatus& container);

}  // namespace keepwell
