#include "tests/sim/scenario.h"

#include <algorithm>
#include <array>

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

template <class T, std::size_t N>
T one_of(Random& random, const std::array<T, N>& all) {
  return all[static_cast<std::size_t>(random.between(0, static_cast<int>(N) - 1))];
}

std::vector<ActionSpec> make_actions(Random& random) {
  std::vector<ActionSpec> actions;
  while (random.chance(0.3)) {
    ActionSpec action;
    action.kind = random.chance(0.7) ? ActionKind::hook : ActionKind::webhook;
    action.name = "a" + std::to_string(actions.size());
    action.first = actions.empty() || actions.back().first ? random.chance(0.7) : false;
    action.hook.command = {"hook"};
    action.hook.timeout = random.between(milliseconds(100), seconds(20));
    actions.push_back(std::move(action));
  }
  return actions;
}

CheckSpec make_check(Random& random, const std::string& name) {
  CheckSpec check;
  check.name = name;
  check.test = {"CMD", "check"};
  check.interval = one_of<Duration>(
      random,
      std::array<Duration, 5>{milliseconds(200), seconds(1), seconds(2), seconds(10), seconds(30)});
  check.timeout =
      one_of<Duration>(random, std::array<Duration, 3>{milliseconds(500), seconds(2), seconds(30)});
  if (random.chance(0.4)) check.start_period = random.between(seconds(1), seconds(40));
  check.start_interval = one_of<Duration>(random, std::array<Duration, 2>{seconds(1), seconds(5)});
  check.retries = random.between(1, 4);
  check.on_unhealthy =
      one_of(random, std::array{OnUnhealthy::policy, OnUnhealthy::policy, OnUnhealthy::restart,
                                OnUnhealthy::stop, OnUnhealthy::kill, OnUnhealthy::none});
  if (random.chance(0.1)) check.initial_delay = random.between(milliseconds(1), seconds(10));
  if (random.chance(0.2)) check.jitter = random.share();
  check.observe = random.chance(0.1);
  check.actions = make_actions(random);
  if (name != kHealthcheckName) {
    check.role = one_of(
        random, std::array{CheckRole::startup, CheckRole::live, CheckRole::ready, CheckRole::info});
  }
  return check;
}

RestartSpec make_restart(Random& random) {
  RestartSpec restart;
  restart.policy =
      one_of(random, std::array{RestartPolicy::no, RestartPolicy::always, RestartPolicy::always,
                                RestartPolicy::on_failure, RestartPolicy::unless_stopped});
  if (restart.policy == RestartPolicy::on_failure && random.chance(0.5)) {
    restart.max_attempts = random.between(1, 5);
  }
  if (random.chance(0.2)) {
    restart.limit_count = random.between(1, 6);
    if (random.chance(0.5)) restart.limit_window = random.between(seconds(10), seconds(600));
  }
  if (random.chance(0.2)) restart.jitter = random.share();
  return restart;
}

bool named(const ProjectSpec& project, int number) {
  const std::string digits = std::to_string(number);
  return std::any_of(project.services.begin(), project.services.end(),
                     [&](const ServiceSpec& each) {
                       return each.name == "s" + digits || each.name == "job" + digits;
                     });
}

ServiceSpec make_service(Random& random, int number, const std::vector<ServiceSpec>& earlier) {
  ServiceSpec service;
  const bool job = random.chance(0.15);
  service.name = (job ? "job" : "s") + std::to_string(number);
  service.runtime = RuntimeKind::process;
  service.command = {{"serve"}};
  service.restart = make_restart(random);
  if (job && service.restart.policy != RestartPolicy::no) {
    service.restart.policy = RestartPolicy::on_failure;
  }
  service.capture.on = false;  // nobody here answers
  service.stop_grace_period = random.between(Duration{0}, seconds(12));
  if (!job && random.chance(0.8)) service.checks.push_back(make_check(random, kHealthcheckName));
  if (!job && random.chance(0.3)) service.checks.push_back(make_check(random, "second"));
  if (!job && random.chance(0.1)) service.checks.push_back(make_check(random, "third"));
  if (!job && random.chance(0.1)) service.checks.push_back(make_check(random, "fourth"));
  if (!job && random.chance(0.2)) service.scale = 2;
  for (const ServiceSpec& other : earlier) {
    if (!random.chance(0.3)) continue;
    Dependency dependency;
    dependency.service = other.name;
    dependency.required = !random.chance(0.2);
    dependency.restart = random.chance(0.2);
    dependency.excuses = random.chance(0.2);
    if (other.name.starts_with("job")) {
      dependency.condition = DependencyCondition::completed_successfully;
    } else if (!other.checks.empty() && random.chance(0.5)) {
      dependency.condition = DependencyCondition::healthy;
    }
    service.depends_on.push_back(dependency);
  }
  return service;
}

}  // namespace

ProjectSpec make_project(Random& random) {
  ProjectSpec project;
  project.name = "sim";
  if (random.chance(0.2)) project.probes_at_once = random.between(2, 8);
  const int services = random.between(1, 7);
  for (int number = 1; number <= services; ++number) {
    project.services.push_back(make_service(random, number, project.services));
  }
  return project;
}

ProjectSpec make_small_project(Random& random) {
  ProjectSpec project = make_project(random);
  for (ServiceSpec& service : project.services) {
    if (random.chance(0.5)) service.restart.policy = RestartPolicy::always;
    for (Dependency& dependency : service.depends_on) dependency.restart = random.chance(0.5);
    for (CheckSpec& check : service.checks) {
      check.interval = std::clamp<Duration>(check.interval, seconds(2), seconds(5));
      check.timeout = std::min<Duration>(check.timeout, seconds(2));
      check.start_period = std::min<Duration>(check.start_period, seconds(10));
    }
  }
  return project;
}

ProjectSpec change_project(const ProjectSpec& project, Random& random) {
  ProjectSpec changed = project;
  if (changed.services.empty()) return make_project(random);
  const int place = random.between(0, static_cast<int>(changed.services.size()) - 1);
  ServiceSpec& service = changed.services[static_cast<std::size_t>(place)];
  switch (random.between(0, 5)) {
    case 0:  // a launch setting
      service.environment.emplace_back("GENERATION", std::to_string(random.next()));
      break;
    case 1:  // a check, in place
      if (service.checks.empty()) {
        if (!service.name.starts_with("job")) {
          service.checks.push_back(make_check(random, kHealthcheckName));
        }
      } else {
        service.checks[0] = make_check(random, service.checks[0].name);
      }
      break;
    case 2:
      service.restart = make_restart(random);
      break;
    case 3:
      service.scale = service.name.starts_with("job") ? 1 : random.between(1, 3);
      break;
    case 4: {  // it goes, and nobody asks for it any more
      const std::string name = service.name;
      std::erase_if(changed.services, [&](const ServiceSpec& each) { return each.name == name; });
      for (ServiceSpec& other : changed.services) {
        std::erase_if(other.depends_on,
                      [&](const Dependency& each) { return each.service == name; });
      }
      break;
    }
    default: {
      int number = 0;
      do {
        number = random.between(100, 999);
      } while (named(changed, number));  // no file names a service twice
      changed.services.push_back(make_service(random, number, changed.services));
    }
  }
  return changed;
}

}  // namespace keepwell
