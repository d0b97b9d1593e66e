#include "config/diff.h"

#include <unordered_map>

#include "config/spec_json.h"

namespace keepwell {

bool launch_settings_differ(const ServiceSpec& a, const ServiceSpec& b) {
  ServiceSpec same = a;
  same.image_source = b.image_source;
  same.stop_grace_period = b.stop_grace_period;
  same.restart = b.restart;
  same.depends_on = b.depends_on;
  same.checks = b.checks;
  same.retries_given = b.retries_given;
  same.post_start = b.post_start;
  same.pre_stop = b.pre_stop;
  same.healthcheck_disabled = b.healthcheck_disabled;
  same.profiles = b.profiles;
  same.scale = b.scale;
  same.priority = b.priority;
  same.pressure_guard = b.pressure_guard;
  same.flap = b.flap;
  same.capture = b.capture;
  return !(same == b);
}

namespace {

std::vector<std::string> differing_fields(const ServiceSpec& a, const ServiceSpec& b) {
  auto from = service_fields(a);
  auto to = service_fields(b);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < from.size() && i < to.size(); ++i) {
    if (from[i] != to[i]) names.push_back(from[i].first);
  }
  return names;
}

}  // namespace

ProjectDiff diff_projects(const ProjectSpec& running, const ProjectSpec& wanted) {
  ProjectDiff diff;
  std::unordered_map<std::string, const ServiceSpec*> old;
  for (const ServiceSpec& service : running.services) old.emplace(service.name, &service);
  for (const ServiceSpec& service : wanted.services) {
    auto found = old.find(service.name);
    if (found == old.end()) {
      diff.services.push_back({service.name, ServiceChange::added, {}});
      continue;
    }
    const ServiceSpec& before = *found->second;
    old.erase(found);
    if (before == service) continue;
    bool launch = launch_settings_differ(before, service);
    diff.services.push_back({service.name, launch ? ServiceChange::recreate : ServiceChange::update,
                             differing_fields(before, service)});
  }
  for (const ServiceSpec& service : running.services) {
    if (old.contains(service.name)) {
      diff.services.push_back({service.name, ServiceChange::removed, {}});
    }
  }
  if (running.on_exit != wanted.on_exit) diff.settings.emplace_back("on_exit");
  if (running.probes_at_once != wanted.probes_at_once) {
    diff.settings.emplace_back("probes_at_once");
  }
  if (!(running.log == wanted.log)) diff.settings.emplace_back("log");
  if (!(running.metrics == wanted.metrics)) diff.settings.emplace_back("metrics");
  if (!(running.api == wanted.api)) diff.settings.emplace_back("api");
  if (!(running.journal == wanted.journal)) diff.settings.emplace_back("journal");
  if (!(running.restart_budget == wanted.restart_budget)) {
    diff.settings.emplace_back("restart_budget");
  }
  if (!(running.pressure_guard == wanted.pressure_guard)) {
    diff.settings.emplace_back("pressure_guard");
  }
  if (!(running.incidents == wanted.incidents)) diff.settings.emplace_back("incidents");
  if (running.name != wanted.name) diff.fixed.emplace_back("name");
  if (running.run_dir != wanted.run_dir) diff.fixed.emplace_back("run_dir");
  if (running.data_dir != wanted.data_dir) diff.fixed.emplace_back("data_dir");
  if (running.runtime != wanted.runtime) diff.fixed.emplace_back("runtime");
  return diff;
}

const char* to_string(ServiceChange change) {
  switch (change) {
    case ServiceChange::added:
      return "added";
    case ServiceChange::removed:
      return "removed";
    case ServiceChange::recreate:
      return "recreate";
    case ServiceChange::update:
      return "update";
  }
  return "";
}

}  // namespace keepwell
