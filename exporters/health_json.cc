#include "exporters/health_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/check.h"
#include "exporters/time_text.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

bool disabled(const CheckSpec& check) {
  return check.kind == ProbeKind::exec && !check.test.empty() && check.test[0] == "NONE";
}

ordered_json log_entry(const ProbeResult& result) {
  return {{"Start", rfc3339_nano(result.started_wall)},
          {"End", rfc3339_nano(result.ended_wall)},
          {"ExitCode", result.exit_code},
          {"Output", result.output}};
}

// The newest kProbeLogMax results of all checks, oldest first.
ordered_json merged_log(const ContainerStatus& container) {
  std::vector<const ProbeResult*> results;
  for (const CheckStatus& check : container.checks) {
    for (const ProbeResult& result : check.log) results.push_back(&result);
  }
  std::stable_sort(results.begin(), results.end(), [](const ProbeResult* a, const ProbeResult* b) {
    return a->ended_wall < b->ended_wall;
  });
  if (results.size() > kProbeLogMax) {
    results.erase(results.begin(), results.end() - static_cast<std::ptrdiff_t>(kProbeLogMax));
  }
  ordered_json log = ordered_json::array();
  for (const ProbeResult* result : results) log.push_back(log_entry(*result));
  return log;
}

const char* kind_text(ProbeKind kind) {
  switch (kind) {
    case ProbeKind::exec:
      return "exec";
    case ProbeKind::http:
      return "http";
    case ProbeKind::tcp:
      return "tcp";
    case ProbeKind::grpc:
      return "grpc";
  }
  KW_CHECK(false);
}

const char* role_text(CheckRole role) {
  switch (role) {
    case CheckRole::startup:
      return "startup";
    case CheckRole::live:
      return "live";
    case CheckRole::ready:
      return "ready";
    case CheckRole::info:
      return "info";
  }
  KW_CHECK(false);
}

ordered_json optional_time(const std::optional<WallTime>& at) {
  return at ? ordered_json(rfc3339_nano(*at)) : ordered_json(nullptr);
}

ordered_json failures_object(const CheckStatus& check) {
  ordered_json failures = ordered_json::object();
  for (std::size_t i = 0; i < kFailureReasons; ++i) {
    if (check.failures_total[i] == 0) continue;
    failures[to_string(static_cast<FailureReason>(i))] = check.failures_total[i];
  }
  return failures;
}

std::string host_and_port(const std::string& host, std::uint16_t port) {
  const bool ipv6 = host.find(':') != std::string::npos;
  return (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace

bool has_health(const ContainerStatus& container) {
  if (!container.started && container.health == Health::none) return false;
  return std::any_of(
      container.checks.begin(), container.checks.end(), [](const CheckStatus& check) {
        return check.spec && check.spec->role != CheckRole::info && !disabled(*check.spec);
      });
}

ordered_json health_object(const ContainerStatus& container) {
  KW_CHECK(has_health(container));
  int streak = 0;
  for (const CheckStatus& check : container.checks) {
    if (check.spec && check.spec->role == CheckRole::info) continue;
    streak = std::max(streak, check.failing_streak);
  }
  // A first start that has not come to run yet: Docker would not know of health, its clients do
  // not know "none" beside checks.
  const Health status = container.health == Health::none ? Health::starting : container.health;
  return {{"Status", to_string(status)}, {"FailingStreak", streak}, {"Log", merged_log(container)}};
}

ordered_json check_object(const CheckStatus& check, Now now) {
  KW_CHECK(check.spec != nullptr);
  const CheckSpec& spec = *check.spec;
  ordered_json log = ordered_json::array();
  for (const ProbeResult& result : check.log) log.push_back(log_entry(result));
  std::optional<WallTime> next;
  if (check.next_probe) next = now.wall + (*check.next_probe - now.mono);
  return {{"Name", spec.name},
          {"Kind", kind_text(spec.kind)},
          {"Role", role_text(spec.role)},
          {"Test", test_words(spec)},
          {"Status", to_string(check.status)},
          {"FailingStreak", check.failing_streak},
          {"SuccessStreak", check.success_streak},
          {"Retries", spec.retries},
          {"Observe", spec.observe},
          {"Paused", check.paused_by_hand},
          {"Probing", check.probe_running},
          {"NextProbe", optional_time(next)},
          {"LastSuccess", optional_time(check.last_success)},
          {"ProbesTotal", check.probes_total},
          {"FailuresTotal", failures_object(check)},
          {"VoidedTotal", check.voided_total},
          {"HeldTotal", check.held_total},
          {"Flapping", check.flapping},
          {"Log", log}};
}

std::vector<std::string> test_words(const CheckSpec& check) {
  switch (check.kind) {
    case ProbeKind::exec:
      return check.test;
    case ProbeKind::http:
      return {"HTTP", check.http.method + " " + check.http.scheme + "://" +
                          host_and_port(check.http.host, check.http.port) + check.http.path};
    case ProbeKind::tcp:
      return {"TCP", host_and_port(check.tcp.host, check.tcp.port)};
    case ProbeKind::grpc:
      return {"GRPC", host_and_port(check.grpc.host, check.grpc.port) +
                          (check.grpc.service.empty() ? "" : "/" + check.grpc.service)};
  }
  KW_CHECK(false);
}

std::string json_text(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace keepwell
