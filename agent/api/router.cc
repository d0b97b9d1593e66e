#include "agent/api/router.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "agent/event_bus.h"
#include "agent/http/head_filter.h"
#include "exporters/version_json.h"
#include "runtime/container_root.h"
#include "runtime/loop.h"
#include "runtime/passwd.h"

namespace keepwell {
namespace {

// One pattern against the segments; false leaves PARAMS in disorder.
bool match_pattern(std::string_view pattern, const std::vector<std::string>& segments,
                   std::vector<std::string>& params) {
  params.clear();
  std::size_t at = 0;
  while (!pattern.empty()) {
    pattern.remove_prefix(1);  // the slash
    const std::size_t end = std::min(pattern.find('/'), pattern.size());
    const std::string_view piece = pattern.substr(0, end);
    pattern.remove_prefix(end);
    if (at == segments.size()) return false;
    if (piece.ends_with("*}")) {
      std::string rest = segments[at];
      while (++at < segments.size()) rest += "/" + segments[at];
      params.push_back(std::move(rest));
      return pattern.empty();
    }
    if (piece.starts_with("{")) {
      params.push_back(segments[at]);
    } else if (piece != segments[at]) {
      return false;
    }
    ++at;
  }
  return at == segments.size();
}

struct Target {
  std::vector<std::string> segments;
  int minor = kApiMinorMax;
  std::string version_text;  // "1.47"; empty: none was given
};

Result<Target> read_target(const HttpRequest& request) {
  Result<std::vector<std::string>> segments = split_path(request.path);
  if (!segments) return fail(segments.error());
  Target target{std::move(*segments), kApiMinorMax, {}};
  const int minor = target.segments.empty() ? -1 : api_minor_of(target.segments.front());
  if (minor >= 0) {
    target.minor = minor;
    target.version_text = target.segments.front().substr(1);
    target.segments.erase(target.segments.begin());
  }
  return target;
}

// The gate of API versions; true if the call was answered.
bool refuse_version(const Target& target, Exchange& exchange) {
  if (target.version_text.empty()) return false;
  if (target.minor > kApiMinorMax) {
    exchange.fail(400, "client version " + target.version_text +
                           " is too new. Maximum supported API version is " + kApiVersion);
    return true;
  }
  if (target.minor < kApiMinorMin) {
    exchange.fail(400, "client version " + target.version_text +
                           " is too old. Minimum supported API version is " + kApiVersionMin +
                           ", please upgrade your client to a newer version");
    return true;
  }
  return false;
}

void add_common_fields(Exchange& exchange) {
  exchange.add_field("Api-Version", kApiVersion);
  exchange.add_field("Docker-Experimental", "false");
  exchange.add_field("Ostype", "linux");
  exchange.add_field("Server", "Docker/keepwell-" KEEPWELL_VERSION " (linux)");
}

}  // namespace

int api_minor_of(std::string_view segment) {
  if (segment.size() < 4 || segment.front() != 'v') return -1;
  segment.remove_prefix(1);
  std::array<int, 2> parts{0, 0};
  std::size_t part = 0;
  std::size_t digits = 0;
  for (const char c : segment) {
    if (c == '.' && part == 0 && digits > 0) {
      ++part;
      digits = 0;
    } else if (c >= '0' && c <= '9') {
      parts.at(part) = std::min(parts.at(part) * 10 + (c - '0'), 9999);
      ++digits;
    } else {
      return -1;
    }
  }
  if (part != 1 || digits == 0) return -1;
  if (parts[0] == 0) return 0;
  return parts[0] == 1 ? parts[1] : 9999;
}

RouteMatch find_route(std::string_view method, const std::vector<std::string>& segments) {
  const std::array tables{system_routes(), container_routes(), lifecycle_routes(),
                          log_routes(),    event_routes(),     exec_routes(),
                          attach_routes(), stats_routes(),     archive_routes(),
                          image_routes(),  check_routes(),     journal_routes(),
                          guard_routes(),  network_routes(),   elsewhere_routes()};
  RouteMatch match;
  for (const std::string_view asked : {method, std::string_view(method == "HEAD" ? "GET" : "")}) {
    for (const std::span<const Route>& table : tables) {
      for (const Route& route : table) {
        if (asked != route.method) continue;
        if (!match_pattern(route.pattern, segments, match.params)) continue;
        match.route = &route;
        return match;
      }
    }
  }
  match.params.clear();
  return match;
}

void route_request(const ApiContext& api, AccessRules& rules, bool public_port,
                   const ExchangePtr& exchange) {
  const HttpRequest& request = exchange->request();
  if (!public_port) add_common_fields(*exchange);
  const Result<Target> target = read_target(request);
  Result<Query> query = Query::parse(request.query_text);
  if (!target || !query) {
    exchange->fail(400, target ? query.error().text : target.error().text);
    return;
  }
  if (!public_port && refuse_version(*target, *exchange)) return;
  RouteMatch match = find_route(request.method, target->segments);
  if (!match.route || (public_port && !match.route->public_port)) {
    exchange->fail(404, "page not found");
    return;
  }
  exchange->set_route(match.route->pattern);

  Access access = Access::read;
  if (!public_port && exchange->peer()) access = rules.access_of(*exchange->peer(), api.project());
  const bool reads = request.method == "GET" || request.method == "HEAD";
  if (access == Access::none || (access == Access::read && !reads)) {
    exchange->fail(403, "permission denied: user id " +
                            std::to_string(exchange->peer() ? exchange->peer()->uid : 0) +
                            " may not do this; see x-keepwell.api in the configuration");
    return;
  }
  match.route->handler(
      ApiCall{exchange, &api, std::move(*query), std::move(match.params), target->minor, access});
}

std::optional<std::size_t> route_body_bytes_max(const HttpRequest& request) {
  const Result<Target> target = read_target(request);
  if (!target) return Route{}.body_bytes_max;
  const RouteMatch match = find_route(request.method, target->segments);
  if (!match.route) return Route{}.body_bytes_max;
  if (match.route->streams_body) return std::nullopt;
  return match.route->body_bytes_max;
}

// ---- access

struct AccessRules::Resolved {
  std::shared_ptr<const ProjectSpec> project;
  struct Level {
    std::vector<std::uint32_t> users;
    std::vector<std::uint32_t> groups;
    bool has(const PeerCredentials& peer) const {
      return std::count(users.begin(), users.end(), peer.uid) > 0 ||
             std::any_of(groups.begin(), groups.end(), [&peer](std::uint32_t group) {
               return group == peer.gid ||
                      std::count(peer.groups.begin(), peer.groups.end(), group) > 0;
             });
    }
  };
  Level read, admin;

  static Level resolve(const std::vector<std::string>& names) {
    Level level;
    UserDatabase database;
    const Result<ContainerRoot> root = ContainerRoot::open("/");
    if (!root) return level;
    for (const std::string& name : names) {
      const bool group = name.starts_with("@");
      const Result<ResolvedUser> user =
          database.resolve(*root, group ? "0:" + name.substr(1) : name);
      if (!user) continue;  // nobody has a name that does not exist
      if (group) {
        level.groups.push_back(user->gid);
      } else {
        level.users.push_back(user->uid);
      }
    }
    return level;
  }
};

AccessRules::AccessRules() = default;
AccessRules::~AccessRules() = default;

Access AccessRules::access_of(const PeerCredentials& peer,
                              const std::shared_ptr<const ProjectSpec>& project) {
  if (peer.uid == 0 || !project) return peer.uid == 0 ? Access::admin : Access::read;
  const ApiSpec& spec = project->api;
  if (spec.read.empty() && spec.admin.empty()) return Access::admin;
  if (!resolved_ || resolved_->project != project) {
    resolved_ = std::make_unique<Resolved>();
    resolved_->project = project;
    resolved_->read = Resolved::resolve(spec.read);
    resolved_->admin = Resolved::resolve(spec.admin);
  }
  if (resolved_->admin.has(peer)) return Access::admin;
  if (resolved_->read.has(peer)) return Access::read;
  // Whoever may connect and is not named: nothing where readers are named, else reading.
  return spec.read.empty() ? Access::read : Access::none;
}

// ---- helpers

int http_status(const Error& error) {
  switch (error.code) {
    case Errc::invalid:
      return 400;
    case Errc::not_found:
      return 404;
    case Errc::conflict:
      return error.text.empty() ? 304 : 409;
    case Errc::unavailable:
      return 503;
    case Errc::denied:
      return 403;
    case Errc::unsupported:
      return 501;
    case Errc::timed_out:
    case Errc::os:
      return 500;
  }
  return 500;
}

void fail_call(const ApiCall& call, const Error& error) {
  const int status = http_status(error);
  if (status == 304) {
    call.exchange->respond({304, "", "", {}});
  } else {
    call.exchange->fail(status, error.text);
  }
}

void respond_json(const ApiCall& call, std::string json, int status) {
  json += '\n';
  call.exchange->respond({status, "application/json", std::move(json), {}});
}

void hijack_stream(const ApiCall& call, bool multiplexed) {
  HttpHead head{200, kRawStream, {}};
  if (call.exchange->request().upgrade) {
    head.status = 101;
    if (multiplexed && call.minor >= 42) head.content_type = kMultiplexedStream;
    head.fields = {{"Connection", "Upgrade"}, {"Upgrade", "tcp"}};
  }
  call.exchange->hijack(head);
}

Result<const ContainerStatus*> find_container(const ApiContext& api, std::string_view name) {
  const std::string given(name);
  if (name.starts_with("/")) name.remove_prefix(1);
  const std::vector<const ContainerStatus*> all = api.containers();
  const ContainerStatus* by_service = nullptr;
  const ContainerStatus* by_prefix = nullptr;
  int services = 0;
  int prefixes = 0;
  for (const ContainerStatus* container : all)
    if (container->id == name) return container;
  for (const ContainerStatus* container : all) {
    if (container->name == name) return container;
    if (container->spec && container->spec->name == name) {
      by_service = container;
      ++services;
    }
    if (!name.empty() && container->id.starts_with(name)) {
      by_prefix = container;
      ++prefixes;
    }
  }
  if (services == 1) return by_service;
  if (services > 1)
    return fail(Errc::invalid, "service " + given + " has " + std::to_string(services) +
                                   " containers: name one of them");
  if (prefixes == 1) return by_prefix;
  if (prefixes > 1) return fail(Errc::invalid, "multiple IDs found with provided prefix: " + given);
  return fail(Errc::not_found, "No such container: " + given);
}

const ContainerStatus* container_of(const ApiCall& call) {
  const Result<const ContainerStatus*> found = find_container(*call.api, call.params.front());
  if (found) return *found;
  fail_call(call, found.error());
  return nullptr;
}

void publish_event(const ApiContext& api, const std::string& id, std::string action,
                   std::vector<std::pair<std::string, std::string>> attributes) {
  const Result<const ContainerStatus*> container = find_container(api, id);
  if (!container) return;
  Event event;
  event.at = Loop::now().wall;
  event.action = std::move(action);
  event.id = (*container)->id;
  event.name = (*container)->name;
  event.spec = (*container)->spec;
  event.attributes = std::move(attributes);
  api.events->publish(std::move(event));
}

std::optional<std::pair<int, int>> read_resize(const ApiCall& call) {
  int numbers[2] = {0, 0};
  const std::pair<const char*, const char*> names[] = {{"h", "height"}, {"w", "width"}};
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string text = call.query.text(names[i].first);
    std::uint32_t number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    const bool too_large = error == std::errc::result_out_of_range;
    if (error != std::errc() || stop != end) {
      call.exchange->fail(400, std::string("invalid resize ") + names[i].second + " \"" + text +
                                   (too_large ? "\": value out of range" : "\": invalid syntax"));
      return std::nullopt;
    }
    numbers[i] = static_cast<int>(std::min<std::uint32_t>(number, 0xffff));
  }
  return std::pair(numbers[0], numbers[1]);
}

bool is_running(const ContainerStatus& container) { return container.pid != 0; }

bool is_restarting(const ContainerStatus& container) {
  return container.state == ServiceState::backoff ||
         (container.state == ServiceState::restarting && container.pid == 0);
}

}  // namespace keepwell
