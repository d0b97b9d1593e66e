#include "agent/dependency_graph.h"

#include <algorithm>

namespace keepwell {
namespace {

Readiness failed(const Dependency& dependency, const std::string& why) {
  return {Readiness::State::failed, "dependency " + dependency.service + " " + why};
}

std::string how_it_ended(const ContainerStatus& container) {
  if (!container.exit_known) return "ended with an unknown status";
  if (!container.error.empty()) return "could not be started: " + container.error;
  return "exited with " + std::to_string(container.exit_code);
}

Readiness when_running(const Dependency& dependency, const ContainerStatus& container) {
  switch (dependency.condition) {
    case DependencyCondition::started:
      return {Readiness::State::ready, {}};
    case DependencyCondition::completed_successfully:
      return {Readiness::State::waiting, {}};
    case DependencyCondition::healthy:
      break;
  }
  switch (container.health) {
    case Health::healthy:
      return {Readiness::State::ready, {}};
    case Health::unhealthy:
      return failed(dependency, "is unhealthy");
    case Health::none:
      return failed(dependency, "has no health check");
    case Health::starting:
      break;
  }
  return {Readiness::State::waiting, {}};
}

Readiness when_exited(const Dependency& dependency, const ContainerStatus& container) {
  const bool ran = container.started && (container.error.empty() || !container.exit_known);
  switch (dependency.condition) {
    case DependencyCondition::started:
      if (container.stopped_by_hand) return failed(dependency, "is stopped");
      if (ran) return {Readiness::State::ready, {}};
      break;
    case DependencyCondition::completed_successfully:
      if (ran && container.exit_known && container.exit_code == 0) {
        return {Readiness::State::ready, {}};
      }
      break;
    case DependencyCondition::healthy:
      break;
  }
  return failed(dependency, how_it_ended(container));
}

}  // namespace

DependencyGraph::DependencyGraph(const ProjectSpec& project) {
  for (const ServiceSpec& service : project.services) {
    std::vector<std::string> names;
    for (const Dependency& dependency : service.depends_on) names.push_back(dependency.service);
    for (const ServiceSpec& other : project.services) {
      const bool known = std::find(names.begin(), names.end(), other.name) != names.end();
      if (!known && shares_namespace(service, other.name)) names.push_back(other.name);
    }
    for (const std::string& name : names) dependents_[name].push_back(service.name);
  }
}

bool shares_namespace(const ServiceSpec& spec, const std::string& service) {
  return spec.network_mode == "service:" + service;
}

bool depends_on(const ServiceSpec& spec, const std::string& service) {
  return shares_namespace(spec, service) ||
         std::any_of(spec.depends_on.begin(), spec.depends_on.end(),
                     [&](const Dependency& dependency) { return dependency.service == service; });
}

bool follows(const ServiceSpec& spec, const std::string& service) {
  return shares_namespace(spec, service) ||
         std::any_of(spec.depends_on.begin(), spec.depends_on.end(),
                     [&](const Dependency& dependency) {
                       return dependency.service == service && dependency.restart;
                     });
}

const std::vector<std::string>& DependencyGraph::dependents(const std::string& service) const {
  static const std::vector<std::string> kNone;
  const auto found = dependents_.find(service);
  return found == dependents_.end() ? kNone : found->second;
}

Readiness readiness(const Dependency& dependency, const ContainerStatus& container, bool pending) {
  if (pending) {
    // Its own trouble is ours: a chain then says why at every link.
    if (container.error.empty()) return {Readiness::State::waiting, {}};
    return failed(dependency, "is not started: " + container.error);
  }
  switch (container.state) {
    case ServiceState::running:
    case ServiceState::paused:
      return when_running(dependency, container);
    case ServiceState::starting:
    case ServiceState::backoff:
    case ServiceState::restarting:
      return {Readiness::State::waiting, {}};
    case ServiceState::stopping:
      return failed(dependency, "is being stopped");
    case ServiceState::created:
      return failed(dependency, "is stopped");
    case ServiceState::failed:
      return failed(dependency, "failed: " + how_it_ended(container));
    case ServiceState::exited:
      return when_exited(dependency, container);
  }
  return {Readiness::State::waiting, {}};
}

}  // namespace keepwell
