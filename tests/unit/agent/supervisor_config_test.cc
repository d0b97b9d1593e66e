// Configurations, dependencies, the end of keepwell, and what the next agent makes of the records.
#include "tests/catch.h"
#include "tests/unit/agent/supervisor_fixture.h"

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = Command::Kind;

// db <- api <- web
std::vector<ServiceSpec> chain(DependencyCondition condition) {
  std::vector<ServiceSpec> services{checked_service("db", RestartPolicy::no),
                                    checked_service("api", RestartPolicy::no),
                                    service_named("web")};
  services[1].depends_on = {{"db", condition, false, true}};
  services[2].depends_on = {{"api", condition, false, true}};
  return services;
}

TEST_CASE("started: each is started when the one before runs") {
  Bench bench(chain(DependencyCondition::started));
  bench.configure();
  CHECK(bench.count<StartContainer>() == 1);
  bench.started("db");
  REQUIRE(bench.count<StartContainer>() == 1);
  CHECK(bench.first<StartContainer>()->order.name == "p-api-1");
  bench.started("api");
  CHECK(bench.first<StartContainer>()->order.name == "p-web-1");
}

TEST_CASE("healthy: a dependency that is unhealthy is said, and may still recover") {
  Bench bench(chain(DependencyCondition::healthy));
  bench.configure();
  bench.started("db");
  CHECK(bench.count<StartContainer>() == 0);
  bench.probe(1);
  CHECK(bench.container("api").state == ServiceState::created);
  CHECK(bench.container("api").error == "cannot start p-api-1: dependency db is unhealthy");
  CHECK_THAT(bench.container("web").error, ContainsSubstring("dependency api is not started"));
  bench.probe(0);
  CHECK(bench.count<StartContainer>() == 1);
  CHECK(bench.container("api").state == ServiceState::starting);
  CHECK(bench.container("web").error.empty());
}

TEST_CASE("completed_successfully: 0 does, 1 and unknown do not") {
  for (const int outcome : {0, 1, 255}) {
    Bench bench({service_named("job"), service_named("web")});
    bench.project.services[1].depends_on = {
        {"job", DependencyCondition::completed_successfully, false, true}};
    bench.configure();
    bench.started("job");
    CHECK(bench.container("web").state == ServiceState::created);
    ContainerExited event;
    event.container = bench.ref("job");
    event.code = outcome == 255 ? 0 : outcome;
    event.known = outcome != 255;
    event.at = bench.now.mono;
    bench.give(EngineEvent(event));
    CHECK(bench.count<StartContainer>() == (outcome == 0 ? 1 : 0));
    CHECK(bench.container("web").error.empty() == (outcome == 0));
  }
}

TEST_CASE("a dependency that is not required may fail or be missing") {
  Bench bench({service_named("job"), service_named("web")});
  bench.project.services[1].depends_on = {
      {"job", DependencyCondition::completed_successfully, false, false},
      {"gone", DependencyCondition::started, false, false}};
  bench.configure();
  bench.started("job");
  CHECK(bench.count<StartContainer>() == 0);  // it is waited for all the same
  bench.exited("job", 1);
  CHECK(bench.count<StartContainer>() == 1);
}

TEST_CASE("the end comes in reverse order, and twice asked at once") {
  for (const bool hurry : {false, true}) {
    Bench bench(chain(DependencyCondition::started));
    bench.configure();
    for (const char* name : {"db", "api", "web"}) bench.started(name);
    bench.give(Shutdown{});
    REQUIRE(bench.count<SignalContainer>() == 1);
    CHECK(bench.first<SignalContainer>()->container == bench.ref("web"));
    if (hurry) {
      bench.give(Shutdown{});
      CHECK(bench.count<KillContainer>() == 3);
    } else {
      bench.exited("web", 0);
      CHECK(bench.first<SignalContainer>()->container == bench.ref("api"));
      bench.exited("api", 0);
      CHECK(bench.count<AllStopped>() == 0);
      bench.exited("db", 0);
      CHECK(bench.count<AllStopped>() == 1);
    }
  }
}

TEST_CASE("what the file does not name any more ends before what it depends on, too") {
  Bench bench(chain(DependencyCondition::started));
  bench.configure();
  for (const char* name : {"db", "api", "web"}) bench.started(name);
  bench.project.services.pop_back();  // web, on its way out
  bench.configure();
  REQUIRE(bench.container("web").state == ServiceState::stopping);
  bench.give(Shutdown{});
  CHECK(bench.count<SignalContainer>() == 0);
  bench.exited("web", 0);
  CHECK(bench.first<SignalContainer>()->container == bench.ref("api"));
}

TEST_CASE("keepwell with nothing to stop ends at once") {
  Bench bench;
  bench.configure();
  bench.give(Shutdown{});
  CHECK(bench.count<AllStopped>() == 1);
}

TEST_CASE("a circle of dependencies does not keep keepwell from ending") {
  Bench bench({service_named("a"), service_named("b")});
  bench.project.services[0].depends_on = {{"b", DependencyCondition::started, false, true}};
  bench.project.services[1].depends_on = {{"a", DependencyCondition::started, false, true}};
  bench.configure();
  bench.command(Kind::start, "a");
  bench.started("a");
  bench.started("b");
  bench.give(Shutdown{});
  CHECK(bench.count<SignalContainer>() == 2);
}

TEST_CASE("depends_on.restart follows its dependency") {
  Bench bench({service_named("vpn", RestartPolicy::always), service_named("app")});
  bench.project.services[1].depends_on = {{"vpn", DependencyCondition::started, true, true}};
  bench.configure();
  bench.started("vpn");
  bench.started("app");
  bench.exited("vpn", 1);
  bench.wait(milliseconds(100));
  bench.started("vpn");
  CHECK(bench.container("app").state == ServiceState::restarting);
  bench.exited("app", 0);
  CHECK(bench.container("app").state == ServiceState::starting);
  CHECK(
      bench.container("app").restarts_total[static_cast<std::size_t>(RestartReason::dependency)] ==
      1);
}

TEST_CASE("who asks for a start that waits for what will not come is told so") {
  Bench bench({service_named("vpn"), service_named("app")});
  bench.project.services[1].depends_on = {{"vpn", DependencyCondition::healthy, true, true}};
  bench.project.services[0].checks = checked_service("vpn", RestartPolicy::no).checks;
  bench.configure();
  bench.started("vpn");
  bench.probe(0);
  bench.started("app");
  bench.exited("vpn", 1);
  bench.command(Command::Kind::start, "vpn");
  bench.started("vpn");
  REQUIRE(bench.container("app").state == ServiceState::restarting);
  const auto start = bench.command(Command::Kind::start, "app");
  bench.exited("app", 0);
  CHECK(bench.replied(start).empty());  // vpn may yet become healthy
  bench.exited("vpn", 1);
  CHECK_THAT(bench.replied(start), ContainsSubstring("dependency vpn exited with 1"));
  CHECK(bench.container("app").state == ServiceState::created);
}

TEST_CASE("a reload: launch settings recreate, checks change in place, what is gone is removed") {
  Bench bench({checked_service("a", RestartPolicy::no), checked_service("b", RestartPolicy::no),
               service_named("c")});
  bench.configure();
  for (const char* name : {"a", "b", "c"}) bench.started(name);
  bench.probe(0);
  const std::string a = bench.container("a").id;
  const std::string b = bench.container("b").id;
  const std::string c = bench.container("c").id;
  bench.project.services[0].environment = {{"A", "1"}};
  bench.project.services[1].checks[0].retries = 5;
  bench.project.services.pop_back();
  bench.configure();
  CHECK(bench.container("b").state == ServiceState::running);
  CHECK(bench.container("b").checks[0].spec->retries == 5);
  CHECK(bench.count<SignalContainer>() == 2);
  bench.exited("c", 0);
  CHECK(bench.events() == "die exitCode=0, stop, destroy");
  CHECK(bench.first<RemoveContainer>()->id == c);
  CHECK(bench.first<Forget>()->id == c);
  bench.exited("a", 0);
  CHECK(bench.events() == "die exitCode=0, stop, create, destroy");
  CHECK(bench.container("a").id != a);
  CHECK(bench.container("b").id == b);
  CHECK(bench.container("a").state == ServiceState::starting);
}

TEST_CASE("the same configuration again changes nothing") {
  Bench bench(chain(DependencyCondition::started));
  bench.configure();
  for (const char* name : {"db", "api", "web"}) bench.started(name);
  bench.configure();
  CHECK(bench.actions.size() == 1);  // the journal's record of it
  CHECK(bench.count<Record>() == 1);
}

TEST_CASE("replicas have names and numbers of their own") {
  Bench bench({service_named("web")});
  bench.project.services[0].scale = 3;
  bench.configure();
  CHECK(bench.count<StartContainer>() == 3);
  CHECK(bench.supervisor.containers()[2]->name == "p-web-3");
  bench.project.services[0].scale = 2;
  bench.configure();  // the third is being started, so it ends later
  CHECK(bench.supervisor.containers()[2]->state == ServiceState::stopping);
}

TEST_CASE("what was stopped by hand stays so over a reload that recreates it") {
  Bench bench({service_named("web", RestartPolicy::always)});
  bench.configure();
  bench.started("web");
  bench.command(Kind::stop, "web");
  bench.exited("web", 0);
  bench.project.services[0].environment = {{"A", "1"}};
  bench.configure();
  CHECK(bench.events() == "create, destroy");
  CHECK(bench.count<StartContainer>() == 0);
}

// ---- the next agent

struct Next : Bench {
  explicit Next(const Bench& last) : Bench(last.project.services) {
    now = last.now;
    move_to(now.mono + milliseconds(200));
    supervisor.restore(last.records(), {}, now, actions);
  }
};

TEST_CASE("an agent that died is not noticed") {
  Bench last({checked_service("web", RestartPolicy::always, 3)});
  last.configure();
  last.started("web");
  last.probe(0);
  last.probe(1);
  last.probe(1);
  Next next(last);
  CHECK(next.count<AdoptContainer>() == 1);
  CHECK(next.count<Emit>() == 0);
  next.configure();
  next.started("web", true);
  CHECK(next.events().empty());
  CHECK(next.count<StartContainer>() == 0);
  const CheckStatus& check = next.container("web").checks[0];
  CHECK(check.status == Health::healthy);
  CHECK(check.failing_streak == 2);
  CHECK(check.log.size() == 3);
  next.probe(1);  // the third
  CHECK(next.container("web").health == Health::unhealthy);
}

TEST_CASE("a backoff goes on, at the planned time") {
  Bench last({service_named("web", RestartPolicy::always)});
  last.configure();
  last.started("web");
  for (int i = 0; i < 5; ++i) {
    last.exited("web", 1);
    if (i < 4) {
      last.wait(seconds(2));
      last.started("web");
    }
  }
  REQUIRE(last.container("web").backoff == milliseconds(1600));
  Next next(last);
  next.configure();
  CHECK(next.count<StartContainer>() == 0);
  next.wait(milliseconds(1399));
  CHECK(next.count<StartContainer>() == 0);
  next.wait(milliseconds(1));
  CHECK(next.count<StartContainer>() == 1);
  CHECK(next.container("web").restart_count == 5);
}

TEST_CASE("a stop goes on, with what is left of its grace; nobody is told twice") {
  Bench last({service_named("web", RestartPolicy::always)});
  last.configure();
  last.started("web");
  last.command(Kind::stop, "web");
  last.wait(seconds(4));
  Next next(last);
  next.configure();
  next.started("web", true);
  CHECK(next.events().empty());
  CHECK(next.count<SignalContainer>() == 1);
  next.wait(milliseconds(5800));
  CHECK(next.count<KillContainer>() == 1);
  next.exited("web", 137);
  CHECK(next.container("web").state == ServiceState::exited);
}

TEST_CASE("a start that was ordered and had no effect is ordered again, and is no failure") {
  Bench last({service_named("web", RestartPolicy::no)});
  last.configure();
  Next next(last);
  next.configure();
  CHECK(next.count<StartContainer>() == 0);
  next.start_failed("web");
  CHECK(next.count<StartContainer>() == 1);
  CHECK(next.events().empty());
}

TEST_CASE("the start order holds also after a crash") {
  Bench last(chain(DependencyCondition::healthy));
  last.configure();
  last.started("db");
  Next next(last);
  next.project = last.project;
  next.configure();
  next.started("db", true);
  CHECK(next.count<StartContainer>() == 0);
  next.probe(0);
  CHECK(next.container("api").state == ServiceState::starting);
  CHECK(next.container("web").state == ServiceState::created);
}

TEST_CASE("the next keepwell run starts what the last one stopped in order to end") {
  Bench last({service_named("web", RestartPolicy::unless_stopped),
              service_named("off", RestartPolicy::unless_stopped),
              service_named("forced", RestartPolicy::always)});
  last.configure();
  for (const char* name : {"web", "off", "forced"}) last.started(name);
  for (const char* name : {"off", "forced"}) {
    last.command(Kind::stop, name);
    last.exited(name, 0);
  }
  last.give(Shutdown{});
  last.exited("web", 0);
  CHECK(last.count<AllStopped>() == 1);
  Next next(last);
  next.configure();
  CHECK(next.container("web").state == ServiceState::starting);
  CHECK(next.container("off").state == ServiceState::exited);
  CHECK(next.container("forced").state == ServiceState::starting);
}

TEST_CASE("records of what the configuration no longer names are cleaned up") {
  Bench last({service_named("web"), service_named("old")});
  last.configure();
  last.started("web");
  last.started("old");
  last.exited("old", 0);
  Next next(last);
  next.project.services.pop_back();
  next.configure();
  CHECK(next.events() == "destroy");
  CHECK(next.supervisor.containers().size() == 1);
}

TEST_CASE("records that make no sense are survived") {
  Bench bench;
  std::vector<ContainerStatus> records(3);
  records[1].id = std::string(64, 'a');
  records[1].state = ServiceState::running;
  records[1].checks.resize(2);  // without specs
  records[2] = records[1];      // the same once more
  bench.supervisor.restore(records, {}, bench.now, bench.actions);
  CHECK(bench.supervisor.containers().size() == 1);
  bench.configure();
  CHECK(bench.supervisor.containers()[0]->state == ServiceState::stopping);
}

}  // namespace
}  // namespace keepwell
