// What becoming unhealthy sets off: hooks, webhooks, excuses; which probes are run, and when.
#include "tests/catch.h"
#include "tests/unit/agent/supervisor_fixture.h"

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using Kind = Command::Kind;

ActionSpec hook_named(const std::string& name, bool first = true) {
  ActionSpec action;
  action.name = name;
  action.first = first;
  action.hook.command = {name};
  return action;
}

ActionSpec webhook_named(const std::string& name, bool first = true) {
  ActionSpec action;
  action.kind = ActionKind::webhook;
  action.name = name;
  action.first = first;
  return action;
}

ActionSpec evidence() {
  ActionSpec action;
  action.kind = ActionKind::capture;
  action.name = "capture";
  return action;
}

ServiceSpec acting_service(std::vector<ActionSpec> actions, OnUnhealthy word) {
  ServiceSpec web = checked_service("web", RestartPolicy::no);
  web.checks[0].on_unhealthy = word;
  web.checks[0].actions = std::move(actions);
  return web;
}

struct Acting : Bench {
  explicit Acting(std::vector<ActionSpec> list, OnUnhealthy word = OnUnhealthy::restart)
      : Bench({acting_service(std::move(list), word)}) {
    configure();
    started("web");
  }
};

// What was set off, in order: "hook a, webhook b, signal".
std::string set_off(const Bench& bench) {
  std::string text;
  const auto add = [&text](const std::string& word) { text += (text.empty() ? "" : ", ") + word; };
  for (const Action& action : bench.actions) {
    if (const auto* hook = std::get_if<RunHook>(&action)) add("hook " + hook->order.name);
    if (const auto* web = std::get_if<SendWebhook>(&action)) add("webhook " + web->action->name);
    if (std::holds_alternative<Capture>(action)) add("capture");
    if (std::holds_alternative<SignalContainer>(action)) add("signal");
  }
  return text;
}

void hook_ended(Bench& bench, HookId id, const std::string& error = {}) {
  bench.give(EngineEvent(HookEnded{id, error.empty() ? 0 : 1, error}));
}

}  // namespace

TEST_CASE("actions are done in order, and the word waits for the hooks before it") {
  Acting bench({webhook_named("a"), hook_named("b"), hook_named("c"), webhook_named("d", false),
                hook_named("e", false)});
  bench.probe(1);
  CHECK(set_off(bench) == "webhook a, hook b");
  CHECK(bench.container("web").state == ServiceState::running);
  const HookId b = bench.first<RunHook>()->order.id;
  const std::string input = bench.first<RunHook>()->order.input;
  CHECK_THAT(input, ContainsSubstring("\"service\":\"web\""));
  CHECK_THAT(input, ContainsSubstring("\"check\":\"healthcheck\""));
  const std::string incident = bench.container("web").incident;
  CHECK(incident.size() == 12);
  CHECK_THAT(input, ContainsSubstring("\"incident\":\"" + incident + "\""));
  CHECK(bench.first<RunHook>()->order.env.back() ==
        std::pair<std::string, std::string>("KEEPWELL_INCIDENT", incident));
  CHECK_THAT(bench.first<SendWebhook>()->body, ContainsSubstring(incident));
  bench.probe(1);  // nothing is begun twice
  CHECK(set_off(bench).empty());
  hook_ended(bench, b, "it exited with 1");
  CHECK(bench.events() == "hook hook=b");
  CHECK(set_off(bench) == "hook c");
  hook_ended(bench, bench.first<RunHook>()->order.id);
  CHECK(set_off(bench) == "signal, webhook d, hook e");
  CHECK(bench.container("web").state == ServiceState::restarting);
  hook_ended(bench, b);  // stale
  CHECK(bench.actions.empty());
}

TEST_CASE("a check that passes while its hook runs is not acted on") {
  Acting bench({hook_named("a")});
  bench.probe(1);
  const HookId first = bench.first<RunHook>()->order.id;
  bench.probe(0);
  hook_ended(bench, first);
  CHECK(set_off(bench).empty());
  CHECK(bench.container("web").state == ServiceState::running);
  bench.probe(1);  // unhealthy a second time
  CHECK(set_off(bench) == "hook a");
}

TEST_CASE("capture in a list is waited for, and the restart does not save it again") {
  for (const bool answered : {true, false}) {
    ServiceSpec web = acting_service({evidence(), hook_named("a")}, OnUnhealthy::restart);
    web.capture.on = true;
    Bench bench({web});
    bench.configure();
    bench.started("web");
    bench.probe(1);
    CHECK(set_off(bench) == "capture");
    const std::string incident = bench.container("web").incident;
    CHECK(bench.first<Capture>()->incident == incident);
    bench.probe(1);
    CHECK(set_off(bench).empty());
    if (answered) {
      bench.give(Captured{bench.container("web").id, "000000000000", "of another incident"});
      CHECK(set_off(bench).empty());
      bench.give(Captured{bench.container("web").id, incident, "9 files"});
    } else {
      bench.wait(web.capture.timeout + seconds(1));
    }
    REQUIRE(set_off(bench) == "hook a");
    hook_ended(bench, bench.first<RunHook>()->order.id);
    CHECK(set_off(bench) == "signal");
    bench.give(Captured{bench.container("web").id, incident, "late, or twice"});
    CHECK(set_off(bench).empty());
  }
}

TEST_CASE("capture alone saves evidence of each time that it became unhealthy") {
  Acting bench({evidence()}, OnUnhealthy::none);
  for (int i = 0; i < 2; ++i) {
    bench.probe(1);
    CHECK(set_off(bench) == "capture");
    bench.give(Captured{bench.container("web").id, bench.container("web").incident, "9 files"});
    CHECK(set_off(bench).empty());
    bench.probe(1);
    CHECK(set_off(bench).empty());
    CHECK(bench.container("web").state == ServiceState::running);
    bench.probe(0);
  }
}

TEST_CASE("without a word the actions are done once, until it has been healthy again") {
  Acting bench({webhook_named("a")}, OnUnhealthy::none);
  bench.probe(1);
  CHECK(set_off(bench) == "webhook a");
  for (int i = 0; i < 5; ++i) {
    bench.probe(1);
    CHECK(set_off(bench).empty());
  }
  bench.probe(0);
  bench.probe(1);
  CHECK(set_off(bench) == "webhook a");
}

TEST_CASE("an agent that comes in the middle begins the actions again, after them it does not") {
  for (const bool done : {false, true}) {
    Acting last({hook_named("a"), webhook_named("b")}, OnUnhealthy::none);
    last.probe(1);
    if (done) hook_ended(last, last.first<RunHook>()->order.id);
    Bench next;
    next.project = last.project;
    next.move_to(last.now.mono + milliseconds(100));
    next.supervisor.restore(last.records(), {}, next.now, next.actions);
    next.configure();
    next.started("web", true);
    next.probe(1);
    CHECK(set_off(next) == (done ? "" : "hook a"));
  }
}

TEST_CASE("observe does nothing at all") {
  Acting bench({hook_named("a")});
  bench.project.services[0].checks[0].observe = true;
  bench.configure();
  bench.probe(1);
  CHECK(set_off(bench).empty());
  CHECK(
      bench.container("web").suppressed_total[static_cast<std::size_t>(SuppressReason::observe)] ==
      1);
}

TEST_CASE("restart.limit: an unhealthy one that may not be restarted any more is told once") {
  Acting bench({});
  bench.project.services[0].restart.limit_count = 1;
  bench.configure();
  bench.probe(1);
  CHECK(bench.container("web").state == ServiceState::restarting);
  bench.exited("web", 0);
  bench.wait(seconds(1));
  bench.started("web");
  bench.probe(1);
  CHECK(bench.events() == "health_status: unhealthy, gave_up restarts=1");
  bench.probe(1);
  CHECK(bench.events().empty());
  CHECK(bench.container("web").state == ServiceState::running);
}

// ---- excuses

namespace {

struct Excused : Bench {
  Excused() {
    ServiceSpec db = checked_service("db", RestartPolicy::no);
    db.checks[0].interval = minutes(1);
    ServiceSpec web = checked_service("web", RestartPolicy::always);
    web.checks[0].retries = 2;
    web.restart.limit_count = 1;
    web.depends_on.push_back({.service = "db", .excuses = true});
    project.services = {db, web};
    configure();
    started("db");
    started("web");
  }
};

// One probe of SERVICE ends with CODE; those of others are left alone.
void probe_of(Bench& bench, const std::string& service, int code) {
  for (int i = 0; i < 1000; ++i) {
    bench.move_to(bench.supervisor.next_deadline().value());
    bench.give(Tick{});
    const StartProbe* start = bench.first<StartProbe>();
    if (start == nullptr) continue;
    const ProbeId id = start->order.id;
    const bool wanted = start->order.container.id == bench.container(service).id;
    bench.probe_started(id);
    bench.probe_ended(id, wanted ? code : 0);
    if (wanted) return;
  }
  FAIL("no probe of " << service);
}

}  // namespace

TEST_CASE("while its dependency is not well a service is not blamed for failing") {
  Excused bench;
  bench.command(Kind::probe_now, "db");
  const ProbeId id = bench.first<StartProbe>()->order.id;
  bench.probe_started(id);
  bench.probe_ended(id, 1);
  REQUIRE(bench.container("db").health == Health::unhealthy);
  for (int i = 0; i < 6; ++i) {
    probe_of(bench, "web", 1);
    CHECK(bench.container("web").state == ServiceState::running);
  }
  CHECK(bench.container("web").health == Health::unhealthy);  // shown all the same
  const auto dependency = static_cast<std::size_t>(SuppressReason::dependency);
  CHECK(bench.container("web").suppressed_total[dependency] == 1);
  // The dependency is well again: the service gets its retries before it is judged.
  bench.command(Kind::probe_now, "db");
  const ProbeId good = bench.first<StartProbe>()->order.id;
  bench.probe_started(good);
  bench.probe_ended(good, 0);
  REQUIRE(bench.container("db").health == Health::healthy);
  probe_of(bench, "web", 1);
  CHECK(bench.container("web").state == ServiceState::running);
  probe_of(bench, "web", 1);
  CHECK(bench.container("web").state == ServiceState::restarting);
}

TEST_CASE("ends that a dependency excuses do not use up the tries") {
  Excused bench;
  bench.exited("db", 1);
  for (int i = 0; i < 3; ++i) {
    bench.exited("web", 1);
    CHECK(bench.container("web").state == ServiceState::backoff);
    bench.wait(minutes(1));
    bench.started("web");
  }
  CHECK(bench.container("web").restart_count == 0);
  bench.command(Kind::start, "db");
  bench.started("db");
  probe_of(bench, "db", 0);
  bench.exited("web", 1);
  CHECK(bench.container("web").restart_count == 1);
  bench.wait(minutes(1));
  bench.started("web");
  bench.exited("web", 1);
  CHECK(bench.container("web").state == ServiceState::failed);
}

// ---- who follows whom

TEST_CASE(
    "a crash and an unhealthy restart are followed by who says restart or shares a namespace") {
  ServiceSpec vpn = checked_service("vpn", RestartPolicy::always);
  ServiceSpec shares = service_named("shares");
  shares.network_mode = "service:vpn";
  shares.depends_on.push_back({.service = "vpn"});
  ServiceSpec follows = service_named("follows");
  follows.depends_on.push_back({.service = "vpn", .restart = true});
  ServiceSpec stays = service_named("stays");
  stays.depends_on.push_back({.service = "vpn"});
  Bench bench({vpn, shares, follows, stays});
  bench.configure();
  for (const char* name : {"vpn", "shares", "follows", "stays"}) bench.started(name);
  for (const char* name : {"shares", "follows", "stays"}) {
    CHECK(bench.container(name).state == ServiceState::running);  // the first start moves nobody
  }
  for (const bool crash : {true, false}) {
    if (crash) {
      bench.exited("vpn", 1);
    } else {
      bench.probe(1);
      bench.exited("vpn", 0);
    }
    bench.wait(seconds(1));
    bench.started("vpn");
    CHECK(bench.container("shares").state == ServiceState::restarting);
    CHECK(bench.container("follows").state == ServiceState::restarting);
    CHECK(bench.container("stays").state == ServiceState::running);
    for (const char* name : {"shares", "follows"}) {
      bench.exited(name, 0);
      bench.started(name);
      CHECK(bench.container(name).last_restart_reason == RestartReason::dependency);
    }
  }
}

TEST_CASE("who has not followed when the agent dies is told by the next one") {
  ServiceSpec db = service_named("db", RestartPolicy::always);
  ServiceSpec web = service_named("web");
  web.depends_on.push_back({.service = "db", .restart = true});
  Bench last({db, web});
  last.configure();
  last.started("db");
  last.started("web");
  last.exited("db", 1);
  last.wait(seconds(1));
  const std::vector<ContainerStatus> ordered = last.records();  // the start of db is ordered
  last.started("db");
  CHECK(last.container("web").state == ServiceState::restarting);
  std::vector<ContainerStatus> stored = ordered;
  for (ContainerStatus& status : stored) {  // and stored as begun, but nothing after it
    if (status.spec->name == "db") status = last.container("db");
    if (status.spec->name == "db") status.dependents_due = true;
  }
  for (const bool db_first : {true, false}) {
    Bench next;
    next.project = last.project;
    next.move_to(last.now.mono + milliseconds(100));
    next.supervisor.restore(stored, {}, next.now, next.actions);
    next.configure();
    next.started(db_first ? "db" : "web", true);
    CHECK(next.container("web").state == ServiceState::running);
    next.started(db_first ? "web" : "db", true);
    CHECK(next.container("web").state == ServiceState::restarting);
  }
  // One that has been told stays told.
  Bench quiet;
  quiet.project = last.project;
  quiet.move_to(last.now.mono + milliseconds(100));
  std::vector<ContainerStatus> told = ordered;
  for (ContainerStatus& status : told) {
    if (status.spec->name == "db") status = last.container("db");
  }
  quiet.supervisor.restore(told, {}, quiet.now, quiet.actions);
  quiet.configure();
  quiet.started("db", true);
  quiet.started("web", true);
  CHECK(quiet.container("web").state == ServiceState::running);
}

// ---- which probes, and when

namespace {

// Brings its service up; the first probe of its check has been started.
ProbeId probe_in_flight(Bench& bench) {
  bench.configure();
  bench.started("web");
  bench.move_to(bench.supervisor.next_deadline().value());
  bench.give(Tick{});
  const ProbeId id = bench.first<StartProbe>()->order.id;
  bench.probe_started(id);
  return id;
}

}  // namespace

TEST_CASE("until the startup check has passed no other is probed, and then it is over") {
  ServiceSpec web = checked_service("web", RestartPolicy::no);
  CheckSpec up = web.checks[0];
  up.name = "up";
  up.role = CheckRole::startup;
  up.interval = milliseconds(100);
  up.retries = 100;
  web.checks.push_back(up);
  Bench bench({web});
  bench.configure();
  bench.started("web");
  for (int i = 0; i < 30; ++i) {
    bench.probe(1);
    REQUIRE(bench.count<Emit>() == 1);  // the exec_die of up
  }
  CHECK(bench.container("web").checks[0].probes_total == 0);
  CHECK_FALSE(bench.container("web").checks[0].next_probe);
  bench.probe(0);
  CHECK(bench.container("web").health == Health::starting);
  CHECK(bench.container("web").checks[0].next_probe == bench.now.mono + seconds(1));
  CHECK_FALSE(bench.container("web").checks[1].next_probe);
  bench.probe(0);
  CHECK(bench.container("web").health == Health::healthy);
  CHECK(bench.container("web").checks[1].probes_total == 31);
  // It begins again with the next run.
  bench.command(Kind::restart, "web");
  bench.exited("web", 0);
  bench.started("web");
  CHECK_FALSE(bench.container("web").checks[0].next_probe);
  CHECK(bench.container("web").checks[1].next_probe);
  // Paused by hand it holds nobody up.
  bench.command(Kind::pause_check, "web");
  bench.command(Kind::resume_check, "web");
  CHECK_FALSE(bench.container("web").checks[0].next_probe);
}

TEST_CASE("a result that waits behind a late timeout is heard before anybody is blamed") {
  Bench bench({checked_service("web", RestartPolicy::always)});
  const ProbeId id = probe_in_flight(bench);
  bench.move_to(bench.now.mono + seconds(4));  // its timeout is 1 s; the loop stood still
  bench.give(Tick{});
  CHECK(bench.count<KillProbe>() == 0);
  SECTION("it had passed") {
    bench.probe_ended(id, 0);
    CHECK(bench.container("web").health == Health::healthy);
  }
  SECTION("it has not: it is killed a moment later, and counts") {
    bench.move_to(bench.supervisor.next_deadline().value());
    bench.give(Tick{});
    CHECK(bench.count<KillProbe>() == 1);
    bench.probe_ended(id, 137, ProbeEnded::How::killed);
    CHECK(bench.container("web").health == Health::unhealthy);
  }
}

TEST_CASE("a probe at which nobody looks again and again is never blamed for it") {
  ServiceSpec web = checked_service("web", RestartPolicy::always);
  web.checks[0].timeout = seconds(2);
  Bench bench({web});
  const ProbeId id = probe_in_flight(bench);
  const Instant began = bench.now.mono;
  const auto look = [&](Duration after) {
    bench.move_to(began + after);
    bench.give(Tick{});
    return bench.count<KillProbe>();
  };
  SECTION("a little late is in time") {
    CHECK(look(milliseconds(2200)) == 1);
    bench.probe_ended(id, 137, ProbeEnded::How::killed);
    CHECK(bench.container("web").health == Health::unhealthy);
    return;
  }
  CHECK(look(seconds(4)) == 0);          // 2 s late
  CHECK(look(milliseconds(8500)) == 0);  // 2.5 s
  SECTION("until it is watched for its whole timeout") {
    bench.wait(milliseconds(1999));
    CHECK(bench.count<KillProbe>() == 0);
    bench.wait(milliseconds(1));
    CHECK(bench.count<KillProbe>() == 1);
    bench.probe_ended(id, 137, ProbeEnded::How::killed);
    CHECK(bench.container("web").health == Health::unhealthy);
  }
  SECTION("or until it says nothing any more") {
    CHECK(look(seconds(12)) == 1);  // 1.5 s: that is too much in sum
    bench.probe_ended(id, 137, ProbeEnded::How::killed);
    CHECK(bench.container("web").health == Health::starting);
    CHECK(bench.container("web").checks[0].voided_total == 1);
  }
}

TEST_CASE("a connection that broke while nobody looked says nothing about the server") {
  ServiceSpec web = checked_service("web", RestartPolicy::always);
  web.checks[0].kind = ProbeKind::tcp;
  web.checks[0].timeout = seconds(30);
  Bench bench({web, checked_service("other", RestartPolicy::always)});
  const ProbeId id = probe_in_flight(bench);
  const auto ends_after = [&](Duration unwatched, ProbeEnded::How how) {
    bench.started("other");  // its first probe falls due after a second
    bench.move_to(bench.now.mono + seconds(1) + unwatched);
    bench.give(Tick{});
    bench.probe_ended(id, 0, how);
    return bench.container("web").health;
  };
  SECTION("seen late") {
    CHECK(ends_after(seconds(1), ProbeEnded::How::reset) == Health::starting);
    CHECK(bench.container("web").checks[0].voided_total == 1);
  }
  SECTION("seen in time") {
    CHECK(ends_after(milliseconds(200), ProbeEnded::How::reset) == Health::unhealthy);
  }
  SECTION("an answer is an answer whenever it is read") {
    CHECK(ends_after(seconds(1), ProbeEnded::How::http_status) == Health::unhealthy);
  }
}

TEST_CASE("what was in flight while the machine was suspended does not count") {
  Bench bench({checked_service("web", RestartPolicy::always)});
  const ProbeId id = probe_in_flight(bench);
  bench.give(Suspended{});
  CHECK(bench.count<KillProbe>() == 1);
  bench.probe_ended(id, 1);
  CHECK(bench.container("web").health == Health::starting);
  CHECK(bench.container("web").checks[0].voided_total == 1);
}

TEST_CASE("a check near its threshold goes before those that only wait their turn") {
  Bench bench;
  for (const char* name : {"a", "b", "c"}) {
    bench.project.services.push_back(checked_service(name, RestartPolicy::no, 3));
  }
  bench.project.probes_at_once = 1;
  bench.configure();
  for (const char* name : {"a", "b", "c"}) bench.started(name);
  // All three fall due together; one runs at a time, in the order of the file.
  std::vector<std::string> order;
  bench.move_to(bench.now.mono + seconds(1));
  bench.give(Tick{});
  const auto end_one = [&](int code_of_c) {
    const StartProbe* start = bench.first<StartProbe>();
    REQUIRE(start != nullptr);
    const ProbeId id = start->order.id;
    std::string name;
    for (const char* each : {"a", "b", "c"}) {
      if (bench.container(each).id == start->order.container.id) name = each;
    }
    order.push_back(name);
    bench.probe_started(id);
    CHECK(bench.supervisor.probes_in_flight() == 1);
    bench.probe_ended(id, name == "c" ? code_of_c : 0);
  };
  end_one(1);
  CHECK(bench.supervisor.probes_waiting() == 1);
  end_one(1);
  end_one(1);
  CHECK(order == std::vector<std::string>{"a", "b", "c"});
  CHECK(bench.container("c").checks[0].failing_streak == 1);
  order.clear();
  bench.move_to(bench.now.mono + seconds(1));
  bench.give(Tick{});
  for (int i = 0; i < 3; ++i) end_one(1);
  CHECK(order == std::vector<std::string>{"a", "c", "b"});
}

TEST_CASE(
    "a probe that waits its turn is not started once a reload has put a startup check first") {
  Bench bench({checked_service("a", RestartPolicy::no), checked_service("b", RestartPolicy::no)});
  bench.project.probes_at_once = 1;
  bench.configure();
  for (const char* name : {"a", "b"}) bench.started(name);
  bench.move_to(bench.now.mono + seconds(1));
  bench.give(Tick{});
  const StartProbe* start = bench.first<StartProbe>();
  REQUIRE(start != nullptr);
  const ProbeId of_a = start->order.id;
  bench.probe_started(of_a);
  REQUIRE(bench.supervisor.probes_waiting() == 1);
  CheckSpec up = bench.project.services[1].checks[0];
  up.name = "up";
  up.role = CheckRole::startup;
  bench.project.services[1].checks.push_back(up);
  bench.configure();
  bench.probe_ended(of_a, 0);
  CHECK(bench.count<StartProbe>() == 0);
  CHECK(bench.supervisor.probes_waiting() == 0);
  CHECK(bench.container("b").checks[0].next_probe == std::nullopt);
  CHECK(bench.container("b").checks[1].next_probe.has_value());
}

TEST_CASE("the probes of a large file are spread over the whole interval, none before half of it") {
  Bench bench;
  constexpr int kServices = 400;
  for (int i = 0; i < kServices; ++i) {
    ServiceSpec service = checked_service("s" + std::to_string(i), RestartPolicy::no);
    service.checks[0].interval = seconds(10);
    bench.project.services.push_back(service);
  }
  bench.project.probes_at_once = 100000;
  bench.configure();
  const Instant began = bench.now.mono;
  for (int i = 0; i < kServices; ++i) bench.started("s" + std::to_string(i));
  std::vector<int> by_second(40);
  while (bench.now.mono - began < seconds(38)) {
    bench.move_to(bench.supervisor.next_deadline().value());
    bench.give(Tick{});
    std::vector<ProbeId> ids;
    for (const Action& action : bench.actions) {
      if (const auto* start = std::get_if<StartProbe>(&action)) ids.push_back(start->order.id);
    }
    for (const ProbeId id : ids) {
      by_second[static_cast<std::size_t>((bench.now.mono - began) / seconds(1))]++;
      bench.probe_started(id);
      bench.probe_ended(id, 0);
    }
  }
  for (std::size_t second = 0; second < 4; ++second) CHECK(by_second[second] == 0);
  for (std::size_t second = 22; second < 36; ++second) {
    INFO(second);
    CHECK(by_second[second] > kServices / 10 / 2);
    CHECK(by_second[second] < kServices / 10 * 2);
  }
}

}  // namespace keepwell
