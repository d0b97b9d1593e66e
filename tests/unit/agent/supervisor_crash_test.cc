// An agent that dies between any two actions: what the one after it tells, and what it does not
// tell again. (tests/sim does the same at random.)
#include <algorithm>
#include <map>
#include <utility>

#include "tests/catch.h"
#include "tests/unit/agent/supervisor_fixture.h"

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// What outlives an agent: the records, and what was told.
struct Disk {
  std::map<std::string, ContainerStatus> records;
  std::vector<ToldEvent> told;
  std::string all_told;  // "create, start, ..."

  // The first COUNT actions that BENCH was given to do, as the driver does them.
  void perform(const Bench& bench, std::size_t count = SIZE_MAX) {
    for (std::size_t i = 0; i < std::min(count, bench.actions.size()); ++i) {
      const Action& action = bench.actions[i];
      if (const auto* save = std::get_if<Save>(&action)) {
        const ContainerStatus* status = bench.supervisor.find(save->id);
        if (status != nullptr) records[save->id] = *status;
      }
      if (const auto* forget = std::get_if<Forget>(&action)) records.erase(forget->id);
      const auto* emit = std::get_if<Emit>(&action);
      if (emit == nullptr || emit->event.probe) continue;
      const Event& event = emit->event;
      told.push_back({event.id, event.name, event.ordinal, event.action});
      all_told += (all_told.empty() ? "" : ", ") + event.action;
    }
  }
};

// The first agent, when all of SERVICES run and that is written down.
struct First : Bench {
  First(std::vector<ServiceSpec> services, Disk& disk) : Bench(std::move(services)) {
    configure();
    disk.perform(*this);
    for (const ServiceSpec& service : project.services) {
      started(service.name);
      disk.perform(*this);
    }
  }
};

// The one after LAST, when it has the configuration; what the keeper tells it is still to come.
struct Next : Bench {
  Next(const Bench& last, Disk& disk) : Bench(last.project.services) {
    now = last.now;
    move_to(now.mono + milliseconds(200));
    std::vector<ContainerStatus> stored;
    for (const auto& [id, status] : disk.records) stored.push_back(status);
    supervisor.restore(stored, disk.told, now, actions);
    disk.perform(*this);
    configure();
    disk.perform(*this);
  }
};

}  // namespace

TEST_CASE("an end is told once, wherever the agent dies while it deals with it") {
  std::size_t boundaries = 1;
  for (std::size_t count = 0; count <= boundaries; ++count) {
    Disk disk;
    First bench({service_named("web", RestartPolicy::always)}, disk);
    bench.exited("web", 3);
    boundaries = bench.actions.size();
    disk.perform(bench, count);
    Next next(bench, disk);
    if (next.container("web").pid != 0) {  // not noted down: the keeper tells it again
      next.exited("web", 3);
      disk.perform(next);
    }
    next.wait(seconds(1));
    disk.perform(next);
    CHECK(next.container("web").state == ServiceState::starting);
    CHECK(next.container("web").restart_count == 1);
    next.started("web");
    disk.perform(next);
    INFO("died after action " << count);
    CHECK(disk.all_told == "create, start, die, start");
  }
  CHECK(boundaries >= 2);
}

TEST_CASE("a stop and its SIGKILL are told once, wherever the agent dies") {
  for (const bool at_the_kill : {false, true}) {
    std::size_t boundaries = 1;
    for (std::size_t count = 0; count <= boundaries; ++count) {
      Disk disk;
      First bench({service_named("web")}, disk);
      bench.command(Command::Kind::stop, "web", 0, seconds(5));
      if (at_the_kill) {
        disk.perform(bench);
        bench.wait(seconds(5));
      }
      boundaries = bench.actions.size();
      disk.perform(bench, count);
      Next next(bench, disk);
      next.started("web", true);
      disk.perform(next);
      if (next.container("web").state == ServiceState::running) {
        next.command(Command::Kind::stop, "web", 0, seconds(5));  // nothing had been noted down
        disk.perform(next);
      }
      next.wait(seconds(5));
      disk.perform(next);
      next.exited("web", 137);
      disk.perform(next);
      INFO((at_the_kill ? "at the kill" : "at the stop") << ", died after action " << count);
      CHECK(disk.all_told == "create, start, kill, kill, die, stop");
      CHECK(next.container("web").stop_kills_total == 1);
    }
  }
}

TEST_CASE("an end is told once also after a signal that nobody had to note down") {
  const auto [what, expected] =
      GENERATE(std::pair<std::string, std::string>("SIGKILL at the deadline",
                                                   "create, start, kill, kill, die, stop"),
               std::pair<std::string, std::string>("a signal by hand", "create, start, kill, die"),
               std::pair<std::string, std::string>("out of memory", "create, start, oom, die"));
  std::size_t boundaries = 1;
  for (std::size_t count = 0; count <= boundaries; ++count) {
    Disk disk;
    First bench({service_named("web")}, disk);
    if (what == "out of memory") {
      bench.give(EngineEvent(ContainerOom{bench.ref("web")}));
    } else if (what == "a signal by hand") {
      bench.command(Command::Kind::kill, "web", 10);
    } else {
      bench.command(Command::Kind::stop, "web", 0, seconds(5));
      disk.perform(bench);
      bench.wait(seconds(5));
    }
    disk.perform(bench);
    bench.exited("web", 137);
    boundaries = bench.actions.size();
    disk.perform(bench, count);
    Next next(bench, disk);
    if (next.container("web").pid != 0) {
      next.exited("web", 137);
      disk.perform(next);
    }
    INFO(what << ", died after action " << count);
    CHECK(disk.all_told == expected);
  }
}

TEST_CASE("an out-of-memory kill is told once, also by the next agent") {
  Disk disk;
  First bench({service_named("web")}, disk);
  bench.give(EngineEvent(ContainerOom{bench.ref("web")}));
  disk.perform(bench);
  Next next(bench, disk);
  next.started("web", true);
  disk.perform(next);
  ContainerExited event{.container = next.ref("web"), .code = 137, .oom_killed = true};
  event.at = next.now.mono;
  next.give(EngineEvent(event));
  disk.perform(next);
  CHECK(disk.all_told == "create, start, oom, die");
}

TEST_CASE("an end that was told as out of memory stays so where nobody can know it any more") {
  for (std::size_t count = 1, all = 1; count <= all; ++count) {
    Disk disk;
    First bench({service_named("web")}, disk);
    ContainerExited event{.container = bench.ref("web"), .code = 137, .oom_killed = true};
    event.at = bench.now.mono;
    bench.give(EngineEvent(event));
    all = bench.actions.size();
    REQUIRE(all >= 3);
    disk.perform(bench, count);
    Next next(bench, disk);
    if (next.container("web").pid != 0) {
      next.give(EngineEvent(ContainerExited{
          .container = next.ref("web"), .known = false, .code = 255, .at = next.now.mono}));
      disk.perform(next);
    }
    INFO("died after action " << count);
    CHECK(disk.all_told == "create, start, oom, die");
    CHECK(next.container("web").oom_killed);
  }
}

TEST_CASE("a reload before a start is known has nothing to tell of health") {
  ServiceSpec web = checked_service("web", RestartPolicy::always);
  web.checks[0].on_unhealthy = OnUnhealthy::none;
  web.checks.push_back(web.checks[0]);
  web.checks[1].name = "second";
  web.checks[1].interval = milliseconds(1500);
  Disk disk;
  First bench({web}, disk);
  for (const int code : {0, 1}) {  // the first check passes, the second does not
    bench.probe(code);
    disk.perform(bench);
  }
  REQUIRE(bench.container("web").health == Health::unhealthy);
  bench.exited("web", 1);
  disk.perform(bench);
  bench.project.services[0].checks.pop_back();
  SECTION("of one that has ended") {
    bench.configure();
    CHECK(bench.events().empty());
  }
  SECTION("of one whose start was told by an agent that died") {
    bench.project.services[0].checks.push_back(web.checks[1]);
    bench.wait(seconds(1));
    disk.perform(bench);
    bench.started("web");
    REQUIRE(bench.events() == "start");
    disk.perform(bench, 1);
    bench.project.services[0].checks.pop_back();
    Next next(bench, disk);
    CHECK(next.events().empty());
    next.started("web", true);
    CHECK(next.events().empty());
    next.probe(0);
    CHECK(next.events() == "health_status: healthy");
  }
}

TEST_CASE("who follows a restart does so once, wherever the agent dies when it came") {
  ServiceSpec db = service_named("db", RestartPolicy::always);
  ServiceSpec web = service_named("web");
  web.depends_on.push_back({.service = "db", .restart = true});
  ServiceSpec late = service_named("late");
  late.depends_on.push_back({.service = "db", .restart = true});
  const auto dependency = static_cast<std::size_t>(RestartReason::dependency);
  std::size_t boundaries = 1;
  for (std::size_t count = 0; count <= boundaries; ++count) {
    Disk disk;
    First bench({db, web}, disk);
    bench.exited("db", 1);
    disk.perform(bench);
    bench.project.services.push_back(late);  // waits for db, and has nothing to follow
    bench.configure();
    disk.perform(bench);
    bench.wait(seconds(1));
    disk.perform(bench);
    bench.started("db");
    boundaries = bench.actions.size();
    REQUIRE(bench.container("web").state == ServiceState::restarting);
    REQUIRE(bench.container("late").state == ServiceState::starting);
    disk.perform(bench, count);
    for (const bool db_first : {true, false}) {
      Disk copy = disk;
      Next next(bench, copy);
      std::vector<std::string> adopted;
      for (const char* name : {"db", "web", "late"}) {
        const ServiceState state = next.container(name).state;
        if (state != ServiceState::created) adopted.emplace_back(name);
      }
      if (!db_first) std::reverse(adopted.begin(), adopted.end());
      for (const std::string& name : adopted) {
        next.started(name, true);
        copy.perform(next);
      }
      INFO("died after action " << count << ", db " << (db_first ? "first" : "last"));
      CHECK(next.container("web").state == ServiceState::restarting);
      CHECK(next.container("web").restarts_total[dependency] == 1);
      CHECK(next.container("late").state != ServiceState::restarting);
      CHECK_THAT(copy.all_told,
                 StartsWith("create, create, start, start, die, create, start, kill"));
      CHECK(copy.all_told.find("kill") == copy.all_told.rfind("kill"));
    }
  }
}

TEST_CASE("a start that was told is no failure to start, whatever was asked in between") {
  Disk disk;
  Bench bench({service_named("web")});
  bench.configure();
  disk.perform(bench);
  bench.started("web");
  REQUIRE(bench.events() == "start");
  disk.perform(bench, 1);  // told, and not saved
  Next second(bench, disk);
  second.command(Command::Kind::stop, "web");
  disk.perform(second);
  // It is gone before the third agent can adopt it.
  Next third(second, disk);
  REQUIRE(third.container("web").state == ServiceState::stopping);
  third.give(EngineEvent(ContainerStartFailed{third.ref("web"), 128, "it had not come to run"}));
  disk.perform(third);
  CHECK(disk.all_told == "create, start, die, stop");
  CHECK_FALSE(third.container("web").exit_known);
  CHECK(third.container("web").state == ServiceState::exited);
}

TEST_CASE("a container that was told and never saved is born under the same id") {
  Disk disk;
  Bench bench({service_named("web")});
  bench.configure();
  disk.perform(bench, 2);  // the first is the journal's record of the configuration
  CHECK(disk.all_told == "create");
  CHECK(disk.records.empty());
  const std::string id = bench.container("web").id;
  Next next(bench, disk);
  CHECK(next.container("web").id == id);
  next.started("web");
  disk.perform(next);
  CHECK(disk.all_told == "create, start");
}

TEST_CASE("where the facts are others than those that were told, they are told") {
  Disk disk;
  First bench({checked_service("web", RestartPolicy::no)}, disk);
  bench.probe(0);
  REQUIRE(bench.events() == "health_status: healthy");
  disk.perform(bench, 2);  // told (and exec_die), not saved
  Next next(bench, disk);
  next.started("web", true);
  next.probe(1);
  CHECK(next.events() == "health_status: unhealthy");
  next.probe(0);
  CHECK(next.events() == "health_status: healthy");
}

TEST_CASE("a stop whose signal cannot be delivered waits two seconds, and no more than it would") {
  Bench bench({service_named("web")});
  bench.configure();
  bench.started("web");
  bench.command(Command::Kind::stop, "web", 0, seconds(60));
  const auto* sent = bench.first<SignalContainer>();
  REQUIRE(sent != nullptr);
  const SignalFailed failed{sent->container, sent->signal};
  bench.give(failed);
  CHECK(bench.count<Save>() == 1);
  bench.wait(milliseconds(1999));
  CHECK(bench.count<KillContainer>() == 0);
  bench.give(failed);  // said twice
  CHECK(bench.actions.empty());
  bench.wait(milliseconds(1));
  CHECK(bench.count<KillContainer>() == 1);
  bench.exited("web", 137);
  bench.give(failed);  // late
  CHECK(bench.actions.empty());
}

TEST_CASE("a timeout that is noticed late is given the time in which nobody looked") {
  ServiceSpec service = checked_service("web", RestartPolicy::no);
  service.checks[0].interval = seconds(60);
  service.checks[0].timeout = seconds(5);
  Bench bench({service});
  bench.configure();
  bench.started("web");
  bench.wait(seconds(60));
  const ProbeId id = bench.first<StartProbe>()->order.id;
  bench.probe_started(id);
  bench.move_to(bench.now.mono + seconds(9));  // stopped, or the whole machine was
  bench.give(Tick{});
  CHECK(bench.count<KillProbe>() == 0);
  SECTION("what comes out then that it had ended counts as that") {
    bench.probe_ended(id, 0);
    CHECK(bench.container("web").health == Health::healthy);
  }
  SECTION("one that hangs is found out, once") {
    bench.wait(seconds(5));
    CHECK(bench.count<KillProbe>() == 1);
    bench.probe_ended(id, 137, ProbeEnded::How::killed);
    CHECK(bench.container("web").health == Health::unhealthy);
  }
}

}  // namespace keepwell
