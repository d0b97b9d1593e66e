// An agent that dies between any two actions: what the one after it tells, and what it does not
// tell again. (tests/sim does the same at random.)
#include <map>

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

struct Next : Bench {
  Next(const Bench& last, Disk& disk) : Bench(last.project.services) {
    now = last.now;
    move_to(now.mono + milliseconds(200));
    std::vector<ContainerStatus> stored;
    for (const auto& [id, status] : disk.records) stored.push_back(status);
    supervisor.restore(stored, disk.told, now, actions);
    disk.perform(*this);
  }
};

}  // namespace

TEST_CASE("an end is told once, wherever the agent dies while it deals with it") {
  std::size_t boundaries = 1;
  for (std::size_t count = 0; count <= boundaries; ++count) {
    Disk disk;
    Bench bench({service_named("web", RestartPolicy::always)});
    bench.configure();
    disk.perform(bench);
    bench.started("web");
    disk.perform(bench);
    bench.exited("web", 3);
    boundaries = bench.actions.size();
    disk.perform(bench, count);
    Next next(bench, disk);
    next.configure();
    disk.perform(next);
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
      Bench bench({service_named("web")});
      bench.configure();
      disk.perform(bench);
      bench.started("web");
      disk.perform(bench);
      bench.command(Command::Kind::stop, "web", 0, seconds(5));
      if (at_the_kill) {
        disk.perform(bench);
        bench.wait(seconds(5));
      }
      boundaries = bench.actions.size();
      disk.perform(bench, count);
      Next next(bench, disk);
      next.configure();
      disk.perform(next);
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

TEST_CASE("a container that was told and never saved is born under the same id") {
  Disk disk;
  Bench bench({service_named("web")});
  bench.configure();
  disk.perform(bench, 2);  // the first is the journal's record of the configuration
  CHECK(disk.all_told == "create");
  CHECK(disk.records.empty());
  const std::string id = bench.container("web").id;
  Next next(bench, disk);
  next.configure();
  disk.perform(next);
  CHECK(next.container("web").id == id);
  next.started("web");
  disk.perform(next);
  CHECK(disk.all_told == "create, start");
}

TEST_CASE("where the facts are others than those that were told, they are told") {
  Disk disk;
  Bench bench({checked_service("web", RestartPolicy::no)});
  bench.configure();
  disk.perform(bench);
  bench.started("web");
  disk.perform(bench);
  bench.probe(0);
  REQUIRE(bench.events() == "health_status: healthy");
  disk.perform(bench, 2);  // told (and exec_die), not saved
  Next next(bench, disk);
  next.configure();
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
