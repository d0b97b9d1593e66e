#include "exporters/action_json.h"

#include <nlohmann/json.hpp>

#include "config/spec_names.h"
#include "exporters/health_json.h"
#include "exporters/time_text.h"

namespace keepwell {

std::string action_json(const ContainerStatus& container, const CheckStatus& check,
                        const ActionFacts& facts) {
  nlohmann::ordered_json object = {
      {"id", container.id.substr(0, 12) + "-" + std::to_string(container.run) + "-" +
                 std::to_string(facts.number)},
      {"time", rfc3339_nano(facts.at)},
      {"event", "unhealthy"},
      {"incident", container.incident},
      {"project", container.project},
      {"service", container.spec->name},
      {"container", container.name},
      {"container_id", container.id},
      {"replica", container.replica},
      {"check", check.spec->name},
      {"failing_streak", check.failing_streak},
      {"on_unhealthy", name_of(check.spec->on_unhealthy)}};
  if (!check.log.empty()) {
    const ProbeResult& last = check.log.back();
    object["reason"] = to_string(last.reason);
    object["exit_code"] = last.exit_code;
    object["output"] = last.output;
  }
  return json_text(object);
}

std::vector<std::pair<std::string, std::string>> action_environment(
    const ContainerStatus& container, const CheckStatus& check) {
  return {{"KEEPWELL_EVENT", "unhealthy"},
          {"KEEPWELL_PROJECT", container.project},
          {"KEEPWELL_SERVICE", container.spec->name},
          {"KEEPWELL_CONTAINER", container.name},
          {"KEEPWELL_CONTAINER_ID", container.id},
          {"KEEPWELL_CHECK", check.spec->name},
          {"KEEPWELL_FAILURES", std::to_string(check.failing_streak)},
          {"KEEPWELL_INCIDENT", container.incident}};
}

}  // namespace keepwell
