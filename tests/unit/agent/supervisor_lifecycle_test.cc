// Starts, stops, policies and the order of events: what a person at the command line sees.
#include "tests/catch.h"
#include "tests/unit/agent/supervisor_fixture.h"

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using Kind = Command::Kind;

Bench running(RestartPolicy policy) { return Bench({service_named("web", policy)}); }
void bring_up(Bench& bench) {
  bench.configure();
  bench.started("web");
}

TEST_CASE("a configuration creates and starts") {
  Bench bench = running(RestartPolicy::no);
  bench.configure();
  CHECK(bench.events() == "create");
  REQUIRE(bench.first<StartContainer>());
  CHECK(bench.first<StartContainer>()->order.name == "p-web-1");
  CHECK(bench.container("web").id.size() == 64);
  CHECK(bench.container("web").state == ServiceState::starting);
  bench.started("web");
  CHECK(bench.events() == "start");
  CHECK(bench.container("web").state == ServiceState::running);
}

TEST_CASE("stop: kill, die, stop; the reply comes with the end") {
  Bench bench = running(RestartPolicy::always);
  bring_up(bench);
  const auto request = bench.command(Kind::stop, "web");
  CHECK(bench.events() == "kill signal=15");
  CHECK(bench.first<SignalContainer>()->signal == 15);
  CHECK(bench.replied(request).empty());
  bench.exited("web", 0);
  CHECK(bench.events() == "die exitCode=0, stop");
  CHECK(bench.replied(request) == "ok");
  CHECK(bench.container("web").state == ServiceState::exited);
  bench.wait(minutes(5));
  CHECK(bench.count<StartContainer>() == 0);
  CHECK(bench.replied(bench.command(Kind::stop, "web")) == "nothing");
}

TEST_CASE("a stop that is not obeyed ends in SIGKILL after the grace period") {
  Bench bench = running(RestartPolicy::no);
  bring_up(bench);
  bench.command(Kind::stop, "web");
  bench.wait(seconds(9));
  CHECK(bench.count<KillContainer>() == 0);
  bench.wait(seconds(1));
  CHECK(bench.events() == "kill signal=9");
  CHECK(bench.count<KillContainer>() == 1);
  bench.exited("web", 137);
  CHECK(bench.container("web").stop_kills_total == 1);
}

TEST_CASE("a kill without effect is told after ten seconds, and tried again") {
  Bench bench = running(RestartPolicy::no);
  bring_up(bench);
  const auto request = bench.command(Kind::stop, "web", 0, Duration{0});
  CHECK(bench.events() == "kill signal=15, kill signal=9");  // t=0: both at once
  bench.wait(seconds(10));
  CHECK_THAT(bench.replied(request), ContainsSubstring("did not receive an exit event"));
  CHECK(bench.count<KillContainer>() == 1);
}

TEST_CASE("a negative grace waits for ever, but not beyond the end of keepwell") {
  Bench bench = running(RestartPolicy::no);
  bring_up(bench);
  bench.command(Kind::stop, "web", 0, seconds(-1));
  bench.wait(std::chrono::hours(5));
  CHECK(bench.count<KillContainer>() == 0);
  bench.give(Shutdown{});
  bench.wait(seconds(10));
  CHECK(bench.count<KillContainer>() == 1);
}

TEST_CASE("restart: kill, die, stop, start, restart, without a wait") {
  Bench bench = running(RestartPolicy::no);
  bring_up(bench);
  const std::string id = bench.container("web").id;
  const auto request = bench.command(Kind::restart, "web");
  CHECK(bench.container("web").state == ServiceState::restarting);
  bench.exited("web", 143);
  CHECK(bench.events() == "die exitCode=143, stop");
  REQUIRE(bench.first<StartContainer>());
  CHECK(bench.replied(request).empty());
  bench.started("web");
  CHECK(bench.events() == "start, restart");
  CHECK(bench.replied(request) == "ok");
  CHECK(bench.container("web").id == id);
  CHECK(bench.container("web").run == 2);
}

TEST_CASE("a restart of what is stopped is a start") {
  Bench bench = running(RestartPolicy::no);
  bring_up(bench);
  bench.exited("web", 3);
  bench.command(Kind::restart, "web");
  CHECK(bench.count<StartContainer>() == 1);
}

TEST_CASE("backoff doubles from 100 ms to 60 s, and starts again after ten good seconds") {
  Bench bench = running(RestartPolicy::always);
  bring_up(bench);
  Duration expected = milliseconds(100);
  for (int i = 0; i < 12; ++i) {
    bench.exited("web", 0);
    CHECK(bench.events() == "die exitCode=0");
    CHECK(bench.container("web").state == ServiceState::backoff);
    bench.wait(expected - milliseconds(1));
    CHECK(bench.count<StartContainer>() == 0);
    bench.wait(milliseconds(1));
    CHECK(bench.count<StartContainer>() == 1);
    bench.started("web");
    CHECK(bench.events() == "start");  // no restart event for a crash
    CHECK(bench.container("web").restart_count == i + 1);
    expected = std::min<Duration>(expected * 2, seconds(60));
  }
  bench.wait(seconds(10));
  bench.exited("web", 1);
  CHECK(bench.container("web").backoff == milliseconds(100));
}

TEST_CASE("with a check only being healthy starts the backoff again") {
  for (const bool healthy : {false, true}) {
    Bench bench({checked_service("web", RestartPolicy::always, 3)});
    bring_up(bench);
    bench.exited("web", 1);
    bench.wait(milliseconds(100));
    bench.started("web");
    bench.probe(healthy ? 0 : 2);
    for (int i = 0; i < 12; ++i) bench.probe(healthy ? 0 : 2);
    bench.exited("web", 1);
    CHECK(bench.container("web").backoff == milliseconds(healthy ? 100 : 200));
  }
}

TEST_CASE("on-failure:3 makes four starts and four dies") {
  Bench bench = running(RestartPolicy::on_failure);
  bench.project.services[0].restart.max_attempts = 3;
  bring_up(bench);
  int starts = 1;
  for (int i = 0; i < 6; ++i) {
    bench.exited("web", 1);
    bench.wait(minutes(2));
    if (bench.count<StartContainer>() == 0) break;
    starts++;
    bench.started("web");
  }
  CHECK(starts == 4);
  CHECK(bench.container("web").state == ServiceState::failed);
  CHECK(bench.container("web").restart_count == 3);
  // By hand it goes on from the beginning.
  bench.command(Kind::start, "web");
  CHECK(bench.container("web").restart_count == 0);
  CHECK(bench.container("web").state == ServiceState::starting);
}

TEST_CASE("on-failure leaves a success alone, and takes an unknown end for a failure") {
  Bench bench = running(RestartPolicy::on_failure);
  bring_up(bench);
  bench.exited("web", 0);
  CHECK(bench.container("web").state == ServiceState::exited);
  bench.command(Kind::start, "web");
  bench.started("web");
  ContainerExited event;
  event.container = bench.ref("web");
  event.known = false;
  event.at = bench.now.mono;
  bench.give(EngineEvent(event));
  CHECK(bench.container("web").state == ServiceState::backoff);
  CHECK(bench.container("web").exit_code == 255);
  CHECK_THAT(bench.container("web").error, StartsWith("exit status unknown"));
}

TEST_CASE("a start that fails goes on with the backoff, unless somebody asked for it") {
  Bench bench = running(RestartPolicy::always);
  bench.configure();
  bench.start_failed("web");
  CHECK(bench.container("web").state == ServiceState::backoff);
  bench.wait(milliseconds(100));
  bench.start_failed("web");
  CHECK(bench.container("web").backoff == milliseconds(200));
  bench.command(Kind::stop, "web");
  CHECK(bench.container("web").state == ServiceState::exited);
  const auto request = bench.command(Kind::start, "web");
  bench.start_failed("web");
  CHECK_THAT(bench.replied(request), ContainsSubstring("no such program"));
  CHECK(bench.container("web").state == ServiceState::exited);
  CHECK(bench.container("web").exit_code == 127);
}

TEST_CASE("only KILL and the stop signal mean that it is to stay down") {
  struct Case {
    const char* stop_signal;
    int signal;
    bool stays_down;
  };
  for (const Case& each :
       {Case{"", 9, true}, Case{"", 15, true}, Case{"", 1, false}, Case{"", 10, false},
        Case{"SIGUSR1", 10, true}, Case{"SIGUSR1", 15, false}, Case{"SIGUSR1", 9, true}}) {
    Bench bench = running(RestartPolicy::always);
    bench.project.services[0].stop_signal = each.stop_signal;
    bring_up(bench);
    bench.command(Kind::kill, "web", each.signal);
    CHECK(bench.events() == "kill signal=" + std::to_string(each.signal));
    bench.exited("web", 128 + each.signal);
    INFO(each.stop_signal << " " << each.signal);
    CHECK(bench.events().find("stop") == std::string::npos);
    CHECK((bench.container("web").state == ServiceState::exited) == each.stays_down);
  }
}

TEST_CASE("stop and kill end a backoff") {
  for (const Kind kind : {Kind::stop, Kind::kill}) {
    Bench bench = running(RestartPolicy::always);
    bring_up(bench);
    bench.exited("web", 1);
    CHECK(bench.replied(bench.command(kind, "web")) == "ok");
    CHECK(bench.container("web").state == ServiceState::exited);
    bench.wait(minutes(2));
    CHECK(bench.count<StartContainer>() == 0);
  }
}

TEST_CASE("a start while it is stopping comes after its end") {
  Bench bench = running(RestartPolicy::no);
  bring_up(bench);
  const auto stop = bench.command(Kind::stop, "web");
  const auto start = bench.command(Kind::start, "web");
  bench.exited("web", 0);
  CHECK(bench.replied(stop) == "ok");
  CHECK(bench.count<StartContainer>() == 1);
  bench.started("web");
  CHECK(bench.replied(start) == "ok");
}

TEST_CASE("a stop before the start was done waits for it") {
  Bench bench = running(RestartPolicy::always);
  bench.configure();
  const auto stop = bench.command(Kind::stop, "web");
  CHECK(bench.count<SignalContainer>() == 0);
  bench.started("web");
  CHECK(bench.events() == "start, kill signal=15");
  bench.exited("web", 0);
  CHECK(bench.replied(stop) == "ok");
  CHECK(bench.container("web").state == ServiceState::exited);
}

TEST_CASE("what Docker's clients are told when a command makes no sense") {
  Bench bench = running(RestartPolicy::no);
  bring_up(bench);
  const std::string id = bench.container("web").id;
  CHECK(bench.replied(bench.command(Kind::start, "web")) == "nothing");
  CHECK(bench.replied(bench.command(Kind::unpause, "web")) == "Container " + id + " is not paused");
  bench.command(Kind::pause, "web");
  bench.give(EngineEvent(ContainerPaused{bench.ref("web"), ""}));
  CHECK(bench.replied(bench.command(Kind::pause, "web")) ==
        "container " + id + " is already paused");
  CHECK(bench.replied(bench.command(Kind::start, "web")) ==
        "cannot start a paused container, try unpause instead");
  bench.exited("web", 0);
  CHECK(bench.replied(bench.command(Kind::pause, "web")) == "container " + id + " is not running");
  CHECK(bench.replied(bench.command(Kind::kill, "web", 9)) ==
        "cannot kill container: p-web-1: container " + id + " is not running");
  bench.give(Command{Kind::stop, 99, "nobody", 0, {}, {}});
  CHECK(bench.replied(99) == "No such container: nobody");
}

TEST_CASE("a stop of a paused container signals, then thaws") {
  Bench bench = running(RestartPolicy::no);
  bring_up(bench);
  bench.command(Kind::pause, "web");
  bench.give(EngineEvent(ContainerPaused{bench.ref("web"), ""}));
  CHECK(bench.events() == "pause");
  bench.command(Kind::stop, "web");
  CHECK(bench.count<SignalContainer>() == 1);
  CHECK(bench.count<ResumeContainer>() == 1);
}

TEST_CASE("an out-of-memory kill is told before the end, and counted as its reason") {
  Bench bench = running(RestartPolicy::always);
  bring_up(bench);
  ContainerExited event;
  event.container = bench.ref("web");
  event.code = 137;
  event.signal = 9;
  event.oom_killed = true;
  event.at = bench.now.mono;
  bench.give(EngineEvent(event));
  CHECK(bench.events() == "oom, die exitCode=137");
  CHECK(bench.container("web").restarts_total[static_cast<std::size_t>(RestartReason::oom)] == 1);
}

TEST_CASE("restart.limit gives up inside its window") {
  Bench bench = running(RestartPolicy::always);
  bench.project.services[0].restart.limit_count = 2;
  bench.project.services[0].restart.limit_window = seconds(60);
  bring_up(bench);
  for (int i = 0; i < 2; ++i) {
    bench.exited("web", 1);
    bench.wait(seconds(1));
    bench.started("web");
  }
  CHECK(bench.container("web").restart_limit_remaining == 0);
  bench.exited("web", 1);
  CHECK(bench.container("web").state == ServiceState::failed);
  CHECK(bench.events() == "die exitCode=1, gave_up restarts=2");
}

TEST_CASE("news of an earlier run is stale") {
  Bench bench = running(RestartPolicy::always);
  bring_up(bench);
  const ContainerRef first = bench.ref("web");
  bench.exited("web", 1);
  bench.wait(seconds(1));
  bench.started("web");
  bench.give(
      EngineEvent(ContainerExited{first, true, 9, 0, false, bench.now.mono, bench.now.wall}));
  CHECK(bench.actions.empty());
  CHECK(bench.container("web").state == ServiceState::running);
}

}  // namespace
}  // namespace keepwell
