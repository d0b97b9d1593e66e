// The checkers of the end: long after all faults what should run does, and nobody waits.
#include <algorithm>

#include "tests/sim/checkers.h"

namespace keepwell {

void Checkers::all_well(const Supervisor& supervisor, const VirtualEngine& engine) {
  for (const auto& [request, command] : open_) {
    const ContainerStatus* target = supervisor.find(command.container);
    const bool for_ever = target != nullptr && live(target->state) &&
                          target->state != ServiceState::running && !target->stop_deadline;
    if (for_ever) continue;  // as somebody wished
    complain("request " + std::to_string(request) + " (kind " +
             std::to_string(static_cast<int>(command.kind)) + ") was never answered");
  }
  for (const ContainerStatus* container : supervisor.containers()) {
    check_well(supervisor, engine, *container);
    check_followed(supervisor, *container);
  }
  for (const auto& [id, host] : engine.hosts()) {
    if (host.phase == VirtualEngine::Host::Phase::running && supervisor.find(id) == nullptr) {
      complain("a process of " + id.substr(0, 6) + " runs, and nobody knows it");
    }
  }
}

// Who follows restarts was started after the last start of whom it follows.
void Checkers::check_followed(const Supervisor& supervisor, const ContainerStatus& container) {
  const Ledger& ledger = ledgers_[container.id];
  // (One that outlived a `kill` is left alone: somebody wants it down.)
  if (container.state != ServiceState::running || ledger.follow_unsure || ledger.stop_asked) return;
  for (const Dependency& dependency : container.spec->depends_on) {
    if (!dependency.restart) continue;
    for (const ContainerStatus* other : supervisor.containers()) {
      if (other->spec->name != dependency.service || other->state != ServiceState::running)
        continue;
      if (other->started_mono > container.started_mono) {
        complain(container, "has not followed the restart of " + other->name);
      }
    }
  }
}

void Checkers::check_well(const Supervisor& supervisor, const VirtualEngine& engine,
                          const ContainerStatus& container) {
  check_told_all(container);
  const Ledger& ledger = ledgers_[container.id];
  const auto* host = engine.host(container.id);
  const bool runs = host != nullptr && (host->phase == VirtualEngine::Host::Phase::running ||
                                        host->phase == VirtualEngine::Host::Phase::starting);
  const bool told_soon = host != nullptr && host->held;  // its end is on the way
  if (runs != live(container.state) && !told_soon)
    complain(container, "its state is not what really is");
  // A reload does not wake what had ended under an earlier rule.
  const ServiceSpec& ruled = ledger.spec_at_end ? *ledger.spec_at_end : *container.spec;
  const RestartPolicy policy = ruled.restart.policy;
  const auto a_check_stops = [](const ServiceSpec& spec) {
    return std::any_of(spec.checks.begin(), spec.checks.end(), [](const CheckSpec& check) {
      return check.on_unhealthy == OnUnhealthy::stop;
    });
  };
  const bool check_stops =
      a_check_stops(ruled) || (ledger.spec_at_stop && a_check_stops(*ledger.spec_at_stop));
  const bool check_paused =
      std::any_of(container.checks.begin(), container.checks.end(),
                  [](const CheckStatus& check) { return check.paused_by_hand; });
  bool well = false;
  switch (container.state) {
    case ServiceState::running:
      well =
          container.health == Health::none || container.health == Health::healthy || check_paused;
      break;
    case ServiceState::paused:
      well = true;
      break;
    case ServiceState::exited:
      well = ledger.stop_asked || policy == RestartPolicy::no ||
             policy == RestartPolicy::on_failure || check_stops || !container.error.empty();
      if (container.start_at_next_run) well = false;
      break;
    case ServiceState::failed:
      well = policy == RestartPolicy::on_failure || ruled.restart.limit_count > 0;
      break;
    case ServiceState::created: {
      const auto& dependencies = container.spec->depends_on;
      well = ledger.stop_asked ||
             !std::all_of(dependencies.begin(), dependencies.end(), [&](const Dependency& each) {
               return dependency_met(each, supervisor, false);
             });
      break;
    }
    case ServiceState::stopping:
    case ServiceState::restarting:
      well = !container.stop_deadline;  // somebody wants to wait for ever
      break;
    case ServiceState::starting:
    case ServiceState::backoff:
      well = ruled.name.starts_with("job");  // with `always` it goes round for ever
      break;
  }
  if (!well) {
    complain(container, std::string("is not well long after all faults: ") +
                            to_string(container.state) + ", " + to_string(container.health) + ", " +
                            container.error);
  }
}

}  // namespace keepwell
