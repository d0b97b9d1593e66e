// Who depends on whom, by service name. Start order and stop order are not computed as lists: a
// container is started when what it depends on is ready, and stopped when nothing that depends on
// it still runs. So the order holds for every mixture of states, also for the one that an earlier
// agent left behind.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/spec.h"
#include "exporters/container_status.h"

namespace keepwell {

class DependencyGraph {
 public:
  DependencyGraph() = default;
  explicit DependencyGraph(const ProjectSpec& project);

  // The services that name SERVICE in their depends_on or share a namespace with it, in file
  // order.
  const std::vector<std::string>& dependents(const std::string& service) const;

 private:
  std::unordered_map<std::string, std::vector<std::string>> dependents_;
};

// Whether SERVICE's network (or another namespace) is also SPEC's: its end is then the end of what
// SPEC runs in.
bool shares_namespace(const ServiceSpec& spec, const std::string& service);

// Whether SPEC names SERVICE in its depends_on or shares a namespace with it.
bool depends_on(const ServiceSpec& spec, const std::string& service);

// Whether SPEC is restarted when SERVICE has been: it says so, or shares a namespace with it.
bool follows(const ServiceSpec& spec, const std::string& service);

struct Readiness {
  enum class State { ready, waiting, failed } state = State::waiting;
  std::string text;  // failed: "dependency db exited with 1"
};

// Whether one container of a dependency meets CONDITION. PENDING: it is still to be started by us.
Readiness readiness(const Dependency& dependency, const ContainerStatus& container, bool pending);

}  // namespace keepwell
