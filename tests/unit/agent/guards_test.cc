// Holds, the host's budget, flapping, pressure and evidence: what holds a restart back, and that it
// is done once nothing does.
#include "tests/catch.h"
#include "tests/unit/agent/supervisor_fixture.h"

using namespace keepwell;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

// The decisions among the actions: "unhealthy, policy, suppressed hold".
std::string decisions(const Bench& bench) {
  std::string text;
  for (const Action& action : bench.actions) {
    const auto* record = std::get_if<Record>(&action);
    if (record == nullptr || record->event.kind != EventKind::decision) continue;
    if (!text.empty()) text += ", ";
    text += record->event.action;
    if (record->event.action == "suppressed") text += " " + record->event.attribute("reason");
  }
  return text;
}

std::uint64_t suppressed(const Bench& bench, const std::string& service, SuppressReason reason) {
  return bench.container(service).suppressed_total[static_cast<std::size_t>(reason)];
}

// All services have been started.
struct Running : Bench {
  explicit Running(std::vector<ServiceSpec> services) : Bench(std::move(services)) {
    configure();
    for (const ServiceSpec& service : project.services) started(service.name);
  }
};

void hold(Bench& bench, const std::string& service, Duration length) {
  Command command;
  command.kind = Command::Kind::hold;
  command.container = bench.container(service).id;
  command.hold_for = length;
  command.reason = "looking at it";
  bench.give(command);
}

// Every service's probe that is due now fails.
void fail_all(Bench& bench) {
  const auto deadline = bench.supervisor.next_deadline();
  REQUIRE(deadline);
  bench.move_to(*deadline);
  bench.give(Tick{});
  std::vector<ProbeId> probes;
  for (const Action& action : bench.actions) {
    if (const auto* start = std::get_if<StartProbe>(&action)) probes.push_back(start->order.id);
  }
  for (const ProbeId probe : probes) {
    bench.probe_started(probe);
    bench.probe_ended(probe, 1);
  }
}

// For LENGTH every probe ends at once with CODE.
void go_on(Bench& bench, Duration length, int code) {
  const Instant end = bench.now.mono + length;
  while (true) {
    const auto deadline = bench.supervisor.next_deadline();
    if (!deadline || *deadline > end) break;
    bench.move_to(*deadline);
    bench.give(Tick{});
    const std::vector<Action> actions = bench.actions;
    for (const Action& action : actions) {
      const auto* start = std::get_if<StartProbe>(&action);
      if (start == nullptr) continue;
      bench.probe_started(start->order.id);
      bench.probe_ended(start->order.id, code);
    }
  }
  bench.move_to(end);
}

// The probe that is due next times out under PRESSURE.
void time_out(Bench& bench, double pressure) {
  const auto deadline = bench.supervisor.next_deadline();
  bench.move_to(*deadline);
  bench.give(Tick{});
  const StartProbe* start = bench.first<StartProbe>();
  REQUIRE(start != nullptr);
  const ProbeId id = start->order.id;
  bench.probe_started(id);
  bench.wait(seconds(1));
  ProbeEnded ended;
  ended.probe = id;
  ended.how = ProbeEnded::How::killed;
  ended.at = bench.now.mono;
  ended.at_wall = bench.now.wall;
  ended.pressure = {{"cpu", true, pressure}, {"io", true, 0.1}};
  bench.give(EngineEvent(ended));
}

}  // namespace

TEST_CASE("a held service is probed and not restarted, until the hold ends by itself") {
  Running bench({checked_service("web", RestartPolicy::always)});
  hold(bench, "web", minutes(1));
  CHECK(bench.events().find("hold until=") == 0);
  bench.probe(1);
  CHECK(bench.container("web").health == Health::unhealthy);
  CHECK(bench.container("web").state == ServiceState::running);
  CHECK(decisions(bench) == "unhealthy, policy, suppressed hold");
  for (int i = 0; i < 5; ++i) bench.probe(1);
  CHECK(suppressed(bench, "web", SuppressReason::hold) == 1);
  CHECK(bench.count<SignalContainer>() == 0);
  bench.wait(minutes(2));
  CHECK(bench.container("web").state == ServiceState::restarting);
  CHECK_FALSE(bench.container("web").hold);
}

TEST_CASE("a release does at once what was held back") {
  Running bench({checked_service("web", RestartPolicy::always)});
  hold(bench, "web", minutes(10));
  bench.probe(1);
  bench.command(Command::Kind::release, "web");
  CHECK(bench.first<SignalContainer>() != nullptr);
  CHECK(bench.container("web").state == ServiceState::restarting);
  CHECK(bench.replied(bench.command(Command::Kind::release, "web")) == "nothing");
}

TEST_CASE("a held service that ended is not started again before the release") {
  Running bench({service_named("web", RestartPolicy::always)});
  hold(bench, "web", minutes(10));
  bench.exited("web", 1);
  CHECK(bench.container("web").state == ServiceState::backoff);
  bench.wait(minutes(1));
  CHECK(bench.container("web").state == ServiceState::backoff);
  CHECK(suppressed(bench, "web", SuppressReason::hold) == 1);
  bench.command(Command::Kind::release, "web");
  bench.wait(milliseconds(1));
  CHECK(bench.container("web").state == ServiceState::starting);
}

TEST_CASE("a person may restart what is held") {
  Running bench({checked_service("web", RestartPolicy::always)});
  hold(bench, "web", minutes(10));
  bench.command(Command::Kind::restart, "web");
  CHECK(bench.container("web").state == ServiceState::restarting);
}

TEST_CASE("a hold survives the agent") {
  Running bench({checked_service("web", RestartPolicy::always)});
  hold(bench, "web", minutes(1));
  Bench next({checked_service("web", RestartPolicy::always)});
  next.now = bench.now;
  next.supervisor.restore(bench.records(), {}, next.now, next.actions);
  next.configure();
  next.started("web", true);
  next.probe(1);
  CHECK(next.container("web").state == ServiceState::running);
  next.wait(minutes(2));
  CHECK(next.container("web").state == ServiceState::restarting);
}

TEST_CASE("after a reboot the wall clock ends a hold") {
  Running bench({checked_service("web", RestartPolicy::always)});
  hold(bench, "web", minutes(10));
  std::vector<ContainerStatus> records = bench.records();
  for (ContainerStatus& record : records) {
    record.hold_until.reset();
    record.state = ServiceState::exited;
    record.pid = 0;
  }
  Bench next({checked_service("web", RestartPolicy::always)});
  next.now = {Instant(seconds(5)), bench.now.wall + minutes(9)};
  next.supervisor.restore(records, {}, next.now, next.actions);
  CHECK(next.container("web").hold);
  next.wait(seconds(61));
  CHECK_FALSE(next.container("web").hold);
}

TEST_CASE("nothing is done while a debugger is attached") {
  Running bench({checked_service("web", RestartPolicy::always)});
  const auto probe = [&](bool traced) {
    bench.move_to(*bench.supervisor.next_deadline());
    bench.give(Tick{});
    const ProbeId id = bench.first<StartProbe>()->order.id;
    bench.probe_started(id);
    ProbeEnded ended;
    ended.probe = id;
    ended.code = 1;
    ended.at = bench.now.mono;
    ended.at_wall = bench.now.wall;
    ended.traced = traced;
    bench.give(EngineEvent(ended));
  };
  probe(true);
  CHECK(bench.container("web").traced);
  CHECK(bench.container("web").state == ServiceState::running);
  CHECK(suppressed(bench, "web", SuppressReason::hold) == 1);
  probe(false);
  CHECK(bench.container("web").state == ServiceState::restarting);
}

TEST_CASE("30 services fail at once: 5 a minute, by dependencies and priority") {
  std::vector<ServiceSpec> services;
  for (int i = 0; i < 30; ++i) {
    services.push_back(checked_service("s" + std::to_string(i), RestartPolicy::always));
    services.back().priority = i % 3;
  }
  // The most important one waits for the least important one, which then is as important.
  services[2].priority = 10;
  services[2].depends_on.push_back({.service = "s9"});
  Bench bench(services);
  bench.project.restart_budget = {.count = 5, .window = minutes(1)};
  bench.configure();
  for (int i = 0; i < 30; ++i) bench.started("s" + std::to_string(i));
  bench.started("s2");
  while (bench.container("s29").health != Health::unhealthy) fail_all(bench);
  std::vector<std::pair<Duration, std::string>> order;
  const Instant began = bench.now.mono;
  for (int tick = 0; tick < 500 && order.size() < 30; ++tick) {
    const auto deadline = bench.supervisor.next_deadline();
    REQUIRE(deadline);
    bench.move_to(*deadline);
    bench.give(Tick{});
    const std::vector<Action> actions = bench.actions;
    for (const Action& action : actions) {
      if (const auto* signal = std::get_if<SignalContainer>(&action)) {
        order.emplace_back(bench.now.mono - began,
                           bench.supervisor.find(signal->container.id)->spec->name);
      }
      if (const auto* start = std::get_if<StartProbe>(&action)) {
        bench.probe_started(start->order.id);
        bench.probe_ended(start->order.id, 1);
      }
    }
  }
  REQUIRE(order.size() == 30);
  CHECK(order[0].second == "s9");
  CHECK(order[1].second == "s2");
  std::vector<int> priorities;
  for (std::size_t i = 2; i < order.size(); ++i) {
    priorities.push_back(std::stoi(order[i].second.substr(1)) % 3);
  }
  CHECK(std::is_sorted(priorities.rbegin(), priorities.rend()));
  for (std::size_t i = 0; i + 5 < order.size(); ++i) {
    CHECK(order[i + 5].first - order[i].first >= minutes(1));
  }
  CHECK(order[29].first < minutes(6));
  std::uint64_t held = 0;
  for (int i = 0; i < 30; ++i) {
    held += suppressed(bench, "s" + std::to_string(i), SuppressReason::budget);
  }
  CHECK(held == 25);
}

TEST_CASE("a restart that waits for the budget is dropped when the service recovers") {
  Bench bench({checked_service("web", RestartPolicy::always),
               checked_service("db", RestartPolicy::always)});
  bench.project.restart_budget = {.count = 1, .window = minutes(10)};
  bench.configure();
  bench.started("web");
  bench.started("db");
  fail_all(bench);
  while (bench.container("db").health != Health::unhealthy) fail_all(bench);
  go_on(bench, milliseconds(1100), 1);
  const std::string waiting = bench.container("web").state == ServiceState::running ? "web" : "db";
  CHECK(suppressed(bench, waiting, SuppressReason::budget) == 1);
  CHECK(bench.supervisor.budget_holds());
  CHECK(bench.supervisor.budget_remaining(bench.now.mono) == 0);
  go_on(bench, seconds(5), 0);
  CHECK(bench.container(waiting).health == Health::healthy);
  CHECK_FALSE(bench.supervisor.budget_holds());
  CHECK(bench.container(waiting).incident.empty());
}

TEST_CASE("what the budget granted counts for the next agent too") {
  Bench bench({service_named("web", RestartPolicy::always)});
  bench.project.restart_budget = {.count = 1, .window = minutes(10)};
  bench.configure();
  bench.started("web");
  bench.exited("web", 1);
  bench.wait(seconds(3));
  CHECK(bench.container("web").state == ServiceState::starting);
  bench.started("web");
  Bench next({service_named("web", RestartPolicy::always)});
  next.project.restart_budget = bench.project.restart_budget;
  next.now = bench.now;
  next.supervisor.restore(bench.records(), {}, next.now, next.actions);
  next.configure();
  next.started("web", true);
  next.exited("web", 1);
  next.wait(minutes(5));
  CHECK(next.container("web").state == ServiceState::backoff);
  next.wait(minutes(6));
  CHECK(next.container("web").state == ServiceState::starting);
}

TEST_CASE("without a budget nobody waits") {
  Running bench({checked_service("web", RestartPolicy::always)});
  CHECK_FALSE(bench.supervisor.budget_remaining(bench.now.mono));
  bench.probe(1);
  CHECK(bench.container("web").state == ServiceState::restarting);
}

TEST_CASE("a flapping service is not restarted, and told of once") {
  ServiceSpec service = checked_service("web", RestartPolicy::always, 2);
  service.checks[0].retries = 1;
  service.restart.limit_count = 0;
  service.flap = {.on = true, .window = 8, .high = 0.5, .low = 0.25};
  // Seen flapping while it may not be restarted for another reason.
  Running bench({service});
  hold(bench, "web", minutes(10));
  int told = 0;
  for (int i = 0; i < 12; ++i) {
    bench.probe(i % 2);
    told += bench.events().find("flapping check=healthcheck") != std::string::npos ? 1 : 0;
  }
  CHECK(told == 1);
  CHECK(bench.container("web").checks[0].flapping);
  bench.command(Command::Kind::release, "web");
  bench.probe(0);
  bench.probe(1);
  CHECK(bench.container("web").state == ServiceState::running);
  CHECK(suppressed(bench, "web", SuppressReason::flap) >= 1);
  // A steady failure is no flapping: once the changes have left the window it is acted on.
  for (int i = 0; i < 10 && bench.container("web").state == ServiceState::running; ++i) {
    bench.probe(1);
  }
  CHECK(bench.container("web").state == ServiceState::restarting);
}

TEST_CASE("timeouts of a stalled host are held, for so long") {
  ServiceSpec service = checked_service("web", RestartPolicy::always);
  service.pressure_guard = {.on = true, .cpu = 0.6, .max_hold = seconds(10)};
  Running bench({service});
  for (int i = 0; i < 4; ++i) time_out(bench, 0.9);
  const CheckStatus& check = bench.container("web").checks[0];
  CHECK(check.held_total == 4);
  CHECK(check.failing_streak == 0);
  CHECK(check.probes_total == 4);
  CHECK(bench.container("web").state == ServiceState::running);
  CHECK(suppressed(bench, "web", SuppressReason::pressure) == 1);
  CHECK(bench.supervisor.pressure_holds());
  const Instant began = bench.now.mono;
  while (bench.container("web").state == ServiceState::running) time_out(bench, 0.9);
  CHECK(bench.now.mono - began < seconds(6));  // of the ten, the first four had passed
  CHECK(bench.container("web").last_restart_reason == RestartReason::unhealthy);
}

TEST_CASE("the pressure guard forgives nothing else") {
  ServiceSpec service = checked_service("web", RestartPolicy::always);
  SECTION("a failure under pressure counts") {
    service.pressure_guard.on = true;
    Running bench({service});
    bench.probe(1);
    CHECK(bench.container("web").state == ServiceState::restarting);
  }
  SECTION("a timeout without pressure counts") {
    service.pressure_guard.on = true;
    Running bench({service});
    time_out(bench, 0.3);
    CHECK(bench.container("web").state == ServiceState::restarting);
  }
  SECTION("and so does every timeout where the guard is off") {
    Running bench({service});
    time_out(bench, 0.9);
    CHECK(bench.container("web").state == ServiceState::restarting);
  }
}

TEST_CASE("a restart waits for its evidence, but not for ever") {
  ServiceSpec service = checked_service("web", RestartPolicy::always);
  service.capture.on = true;
  service.capture.timeout = seconds(5);
  Running bench({service});
  bench.probe(1);
  const Capture* capture = bench.first<Capture>();
  REQUIRE(capture != nullptr);
  CHECK(capture->alive);
  CHECK(capture->incident == bench.container("web").incident);
  CHECK(bench.container("web").state == ServiceState::running);
  SECTION("it comes") {
    bench.give(Captured{capture->container.id, capture->incident, "3 files"});
    CHECK(bench.container("web").state == ServiceState::restarting);
    CHECK(decisions(bench) == "captured");
  }
  SECTION("it does not come") {
    bench.wait(seconds(7));
    CHECK(bench.container("web").state == ServiceState::restarting);
  }
  SECTION("somebody stops it meanwhile") {
    const Captured late{capture->container.id, capture->incident, "3 files"};
    bench.command(Command::Kind::stop, "web");
    bench.exited("web", 0);
    bench.give(late);
    CHECK(bench.container("web").state == ServiceState::exited);
  }
  SECTION("it ends meanwhile") {
    bench.exited("web", 1);
    CHECK(bench.container("web").state == ServiceState::backoff);
  }
}

TEST_CASE("everything of one restart carries one incident") {
  Running bench({checked_service("web", RestartPolicy::always)});
  bench.probe(0);
  CHECK(bench.container("web").incident.empty());
  bench.probe(1);
  const std::string incident = bench.container("web").incident;
  CHECK(incident.size() == 12);
  CHECK(decisions(bench) == "unhealthy, policy, restart");
  bench.exited("web", 143);
  CHECK(std::get<Emit>(bench.actions[0]).event.incident == incident);
  bench.wait(seconds(1));
  bench.started("web");
  for (const Action& action : bench.actions) {
    if (const auto* emit = std::get_if<Emit>(&action)) CHECK(emit->event.incident == incident);
  }
  CHECK(bench.container("web").incident.empty());
  CHECK(bench.container("web").recovery == incident);
  bench.probe(0);
  CHECK(decisions(bench) == "healthy");
  CHECK(bench.container("web").recovery.empty());
  bench.probe(0);
  CHECK(decisions(bench).empty());
}

TEST_CASE("a failure that passes is an incident without a restart") {
  Running bench({checked_service("web", RestartPolicy::always, 3)});
  bench.probe(0);
  bench.probe(1);
  CHECK_FALSE(bench.container("web").incident.empty());
  bench.probe(0);
  CHECK(decisions(bench) == "recovered");
  CHECK(bench.container("web").incident.empty());
}

TEST_CASE("lateness is known") {
  Running bench({checked_service("web", RestartPolicy::always)});
  const Instant due = *bench.supervisor.next_deadline();
  CHECK(bench.supervisor.worst_lateness(bench.now.mono) == Duration{0});
  CHECK(bench.supervisor.worst_lateness(due + seconds(7)) == seconds(7));
  bench.move_to(due);
  bench.give(Tick{});
  CHECK(bench.supervisor.worst_lateness(due + seconds(8)) == seconds(8));  // ordered, not started
}
