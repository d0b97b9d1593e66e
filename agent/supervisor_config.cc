// What is to run: configurations, and who waits for whom.
#include <algorithm>
#include <map>
#include <utility>

#include "agent/restart_policy.h"
#include "agent/supervisor_state.h"
#include "probes/probe_schedule.h"

namespace keepwell {
namespace {

using Place = std::pair<std::string, int>;  // service, replica

// A check that can run; {"NONE"} and an empty test say that there is none.
bool active(const CheckSpec& check) {
  return check.kind != ProbeKind::exec || (!check.test.empty() && check.test[0] != "NONE");
}

std::string container_name(const ProjectSpec& project, const ServiceSpec& service, int replica) {
  if (!service.container_name.empty()) return service.container_name;
  return project.name + "-" + service.name + "-" + std::to_string(replica);
}

// A ServiceSpec inside PROJECT that keeps the whole of it alive.
std::shared_ptr<const ServiceSpec> share(const std::shared_ptr<const ProjectSpec>& project,
                                         const ServiceSpec& service) {
  return {project, &service};
}

}  // namespace

// ---- configurations

void Supervisor::on(const Configure& configure) {
  if (shutting_down_ || !configure.project) return;
  const bool first = project_ == nullptr;
  project_ = configure.project;
  graph_ = DependencyGraph(*project_);
  budget_.set(project_->restart_budget);
  if (!restart_queue_.empty()) timers_.set(key(0, 0, Timer::budget), now_.mono);
  record_configure(first);
  std::map<Place, std::shared_ptr<const ServiceSpec>> missing;
  std::size_t checks = 0;
  for (const ServiceSpec& service : project_->services) {
    for (int replica = 1; replica <= service.scale; ++replica) {
      missing.emplace(Place(service.name, replica), share(project_, service));
      checks += service.checks.size();
    }
  }
  spread_all_ = checks > kChecksBeforeSpread;

  std::vector<Container*> present;
  for (const auto& container : containers_) present.push_back(container.get());
  for (Container* container : present) {
    const auto place = missing.find({container->service(), container->status.replica});
    container->surplus = place == missing.end();
    if (container->surplus) {
      retire(*container);
      continue;
    }
    const auto spec = std::move(place->second);
    missing.erase(place);
    if (first) wake(*container);
    update(*container, spec);
  }
  for (const ServiceSpec& service : project_->services) {  // in file order
    for (int replica = 1; replica <= service.scale; ++replica) {
      const auto place = missing.find({service.name, replica});
      if (place != missing.end()) create(place->second, replica, nullptr);
    }
  }
  for (const auto& container : containers_) changed(*container);
}

// A container of an earlier run of keepwell that has no process: is it to be started now?
void Supervisor::wake(Container& container) {
  ContainerStatus& status = container.status;
  if (status.state == ServiceState::exited && status.start_at_next_run) {
    status.state = ServiceState::created;
    status.stopped_by_hand = false;
    status.start_at_next_run = false;
    status.error.clear();
    save(container);
  }
  if (status.state == ServiceState::created) container.want_start = !status.stopped_by_hand;
}

void Supervisor::create(const std::shared_ptr<const ServiceSpec>& spec, int replica,
                        const Container* predecessor) {
  containers_.push_back(std::make_unique<Container>());
  Container& container = *containers_.back();
  container.serial = ++last_serial_;
  ContainerStatus& status = container.status;
  if (predecessor != nullptr) {
    const ContainerStatus& old = predecessor->status;
    status.starts_total = old.starts_total;
    status.restarts_total = old.restarts_total;
    status.suppressed_total = old.suppressed_total;
    status.stop_kills_total = old.stop_kills_total;
    status.start_to_healthy = old.start_to_healthy;
    status.stop_duration = old.stop_duration;
    status.checks = old.checks;
    status.stopped_by_hand = old.stopped_by_hand;
    status.hold = old.hold;
    status.hold_until = old.hold_until;
    status.budget_times = old.budget_times;
    if (old.started) status.restarts_total[static_cast<std::size_t>(RestartReason::config)]++;
  }
  status.name = container_name(*project_, *spec, replica);
  status.id = new_id();
  if (const auto told = unborn_.find(status.name); told != unborn_.end()) {
    status.id = told->second;
    container.told[1] = "create";
    unborn_.erase(told);
  }
  status.project = project_->name;
  status.replica = replica;
  status.spec = spec;
  status.created = now_.wall;
  for (CheckStatus& check : status.checks) {
    check.status = Health::none;
    check.log.clear();
    check.probe_running = false;
    container.checks.emplace_back();
    container.checks.back().slot = ++last_slot_;
  }
  if (status.hold_until) timers_.set(key(container.serial, 0, Timer::hold), *status.hold_until);
  install_checks(container);
  forget_starts(container);
  container.want_start = !status.stopped_by_hand;
  by_id_[status.id] = &container;
  by_serial_[container.serial] = &container;
  by_service_[container.service()].push_back(&container);
  emit(container, "create");
  save(container);
  changed(container);
}

// The configuration says SPEC of a container that there already is.
void Supervisor::update(Container& container, const std::shared_ptr<const ServiceSpec>& spec) {
  ContainerStatus& status = container.status;
  const std::string name = container_name(*project_, *spec, status.replica);
  if (launch_settings_differ(*status.spec, *spec) || status.name != name) return retire(container);
  const bool same = *status.spec == *spec;
  status.spec = spec;
  status.project = project_->name;
  install_checks(container);
  if (same) return;
  status.restart_limit_remaining =
      restarts_left(spec->restart, status.restart_count, status.restart_times, now_.mono);
  save(container);
}

// What the configuration no longer holds so: it goes as soon as it has no process.
void Supervisor::retire(Container& container) {
  if (!container.live()) return settle_config(container);
  const ServiceState state = container.status.state;
  if (state == ServiceState::stopping || state == ServiceState::restarting) {
    container.status.state = ServiceState::stopping;
    container.status.stop_cause = StopCause::config;
    return save(container);
  }
  stop(container, ServiceState::stopping, StopCause::config, 0, std::nullopt);
}

// What the configuration says of a container; null: nothing, it is to go.
std::shared_ptr<const ServiceSpec> Supervisor::wanted(const Container& container) const {
  for (const ServiceSpec& service : project_->services) {
    if (service.name != container.service()) continue;
    if (container.status.replica > service.scale) return nullptr;
    return share(project_, service);
  }
  return nullptr;
}

bool Supervisor::outdated(const Container& container) const {
  if (!project_) return false;
  if (container.surplus) return true;
  const auto spec = wanted(container);
  return !spec || launch_settings_differ(container.spec(), *spec) ||
         container.status.name != container_name(*project_, *spec, container.status.replica);
}

// REQUIRES: no process. The container is gone afterwards; another one has its place if the
// configuration still names it.
void Supervisor::settle_config(Container& container) {
  const auto spec = container.surplus ? nullptr : wanted(container);
  if (spec) create(spec, container.status.replica, &container);
  destroy(container);
}

void Supervisor::destroy(Container& container) {
  changed(container);
  end_probing(container);
  for (CheckRun& run : container.checks) {
    if (run.probe != 0) flights_.erase(run.probe);
    timers_.cancel(key(container.serial, run.slot, Timer::flight));
  }
  timers_.cancel(key(container.serial, 0, Timer::start));
  timers_.cancel(key(container.serial, 0, Timer::stop));
  timers_.cancel(key(container.serial, 0, Timer::hold));
  timers_.cancel(key(container.serial, 0, Timer::capture));
  answer(container, Waiter::kEnded, {});
  answer(container, ~0U, fail(Errc::not_found, "No such container: " + container.status.id));
  emit(container, "destroy");
  actions_->push_back(RemoveContainer{container.status.id});
  actions_->push_back(Forget{container.status.id});
  by_id_.erase(container.status.id);
  by_serial_.erase(container.serial);
  auto& siblings = by_service_[container.service()];
  std::erase(siblings, &container);
  if (siblings.empty()) by_service_.erase(container.service());
  std::erase_if(containers_, [&](const auto& each) { return each.get() == &container; });
}

// Brings the checks in line with the spec; what a check of the same name has counted stays.
void Supervisor::install_checks(Container& container) {
  ContainerStatus& status = container.status;
  std::vector<CheckStatus> old_status = std::move(status.checks);
  std::vector<CheckRun> old_runs = std::move(container.checks);
  status.checks.clear();
  container.checks.clear();
  const bool probing =
      status.state == ServiceState::running && !container.order_open && !container.pausing;
  bool gate_moved = false;
  const Duration age = now_.mono - status.started_mono;
  for (const CheckSpec& spec : status.spec->checks) {
    if (!active(spec)) continue;
    const std::shared_ptr<const CheckSpec> shared(status.spec, &spec);
    const auto same = std::find_if(old_status.begin(), old_status.end(), [&](const auto& old) {
      return old.spec && old.spec->name == spec.name;
    });
    const std::size_t index = status.checks.size();
    if (same == old_status.end()) {
      status.checks.emplace_back().spec = shared;
      container.checks.emplace_back().slot = ++last_slot_;
      if (container.live() && status.pid != 0) status.checks.back().status = Health::starting;
      if (probing) schedule_first(container, index);
      gate_moved = true;
      continue;
    }
    const bool differs = *same->spec != spec;
    const bool acts_differently = same->spec->actions != spec.actions;
    gate_moved = gate_moved || same->spec->role != spec.role;
    const auto place = static_cast<std::size_t>(same - old_status.begin());
    status.checks.push_back(std::move(*same));
    container.checks.push_back(std::move(old_runs[place]));
    old_runs[place].probe = 0;
    old_runs[place].slot = 0;
    CheckStatus& check = status.checks.back();
    same->spec = nullptr;
    check.spec = shared;
    if (acts_differently) {
      container.checks.back().hook = 0;
      check.actions_done = false;
    }
    if (probing && differs && check.next_probe) {
      const Instant latest = now_.mono + next_wait(spec, check.status, age);
      schedule(container, index, std::min(*check.next_probe, latest));
    }
  }
  for (CheckRun& gone : old_runs) drop_check(container, gone);
  if (!container.order_open) update_health(container, {});  // else once it is known what is
  if (probing && (gate_moved || old_status.size() != status.checks.size())) settle_gate(container);
}

// A check that is no longer in the configuration. Its last probe ends unheard.
void Supervisor::drop_check(Container& container, CheckRun& run) {
  if (run.slot == 0) return;
  timers_.cancel(key(container.serial, run.slot, Timer::probe));
  timers_.cancel(key(container.serial, run.slot, Timer::flight));
  answer_probe(run, false);
  if (run.probe == 0) return;
  flights_.erase(run.probe);
  actions_->push_back(KillProbe{run.probe});
}

// ---- who waits for whom

// Starts CONTAINER if all that it depends on is ready; else leaves it waiting, with the reason in
// its error where waiting alone will not help.
void Supervisor::try_start(Container& container) {
  if (!container.want_start || container.live() || shutting_down_) return;
  bool wait = false;
  std::string trouble;
  for (const Dependency& dependency : container.spec().depends_on) {
    const auto found = by_service_.find(dependency.service);
    if (found == by_service_.end()) {
      if (dependency.required && trouble.empty()) {
        trouble = "dependency " + dependency.service + " is not in the configuration";
      }
      continue;
    }
    for (const Container* other : found->second) {
      const Readiness ready = readiness(dependency, other->status, other->want_start);
      wait = wait || ready.state == Readiness::State::waiting;
      if (ready.state == Readiness::State::failed && dependency.required && trouble.empty()) {
        trouble = ready.text;
      }
    }
  }
  if (!trouble.empty()) trouble = "cannot start " + container.status.name + ": " + trouble;
  if (!wait && trouble.empty()) return start_now(container, false);
  if (!trouble.empty()) answer(container, Waiter::kStarted, fail(Errc::conflict, trouble));
  if (container.status.error == trouble) return;
  container.status.error = trouble;
  save(container);
  changed(container);
}

void Supervisor::dependencies_changed() {
  for (std::size_t i = 0; i < changed_services_.size(); ++i) {  // grows while it runs
    const std::string service = changed_services_[i];
    const auto own = by_service_.find(service);
    if (own != by_service_.end()) {
      for (Container* container : own->second) try_start(*container);
    }
    for (const std::string& dependent : graph_.dependents(service)) {
      const auto found = by_service_.find(dependent);
      if (found == by_service_.end()) continue;
      for (Container* container : found->second) try_start(*container);
    }
  }
  changed_services_.clear();
}

// depends_on.restart, and sharers of a namespace: whoever was running before its dependency began a
// new run follows it.
void Supervisor::restart_dependents() {
  for (const std::uint32_t serial : std::exchange(fresh_starts_, {})) {
    const auto found = by_serial_.find(serial);
    if (found == by_serial_.end() || shutting_down_) continue;
    Container& container = *found->second;
    if (!restart_dependents_of(container)) {
      fresh_starts_.push_back(serial);  // some are still being adopted
      continue;
    }
    container.status.dependents_due = false;
    if (!graph_.dependents(container.service()).empty()) save(container);
  }
}

// False: not all of them could be asked yet.
bool Supervisor::restart_dependents_of(Container& container) {
  bool all = true;
  for (const std::string& name : graph_.dependents(container.service())) {
    const auto dependents = by_service_.find(name);
    if (dependents == by_service_.end()) continue;
    for (Container* dependent : dependents->second) {
      all = all && !dependent->adopting;
      if (!dependent->adopting) follow_restart(*dependent, container.service());
    }
  }
  return all;
}

void Supervisor::follow_restart(Container& container, const std::string& service) {
  ContainerStatus& status = container.status;
  const bool shares = shares_namespace(container.spec(), service);
  const bool runs = status.state == ServiceState::running || status.state == ServiceState::paused ||
                    (shares && status.state == ServiceState::starting);
  if (!runs || status.stopped_by_hand || !follows(container.spec(), service)) return;
  // Who shares its namespaces has lost them, held or not.
  if (!shares && held_by_hand(container)) return;
  status.restarts_total[static_cast<std::size_t>(RestartReason::dependency)]++;
  status.restart_event_due = true;
  note_decision(container, RestartReason::dependency, "dependency " + service + " was restarted");
  stop(container, ServiceState::restarting, StopCause::dependency, 0, std::nullopt);
}

}  // namespace keepwell
