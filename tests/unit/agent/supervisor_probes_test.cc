// From a probe that is due to what its verdict does.
#include "tests/catch.h"
#include "tests/unit/agent/supervisor_fixture.h"

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = Command::Kind;
using How = ProbeEnded::How;

Bench watched(RestartPolicy policy, int retries = 1) {
  return Bench({checked_service("web", policy, retries)});
}
void bring_up(Bench& bench) {
  bench.configure();
  bench.started("web");
}
const CheckStatus& check_of(const Bench& bench) { return bench.container("web").checks.at(0); }
CheckSpec& spec_of(Bench& bench) { return bench.project.services[0].checks[0]; }

// The id of the probe that is started next.
ProbeId next_probe(Bench& bench) {
  bench.move_to(bench.supervisor.next_deadline().value());
  bench.give(Tick{});
  REQUIRE(bench.first<StartProbe>());
  return bench.first<StartProbe>()->order.id;
}

TEST_CASE("the first probe comes after one interval, the next one interval after its end") {
  Bench bench = watched(RestartPolicy::no);
  bring_up(bench);
  CHECK(bench.container("web").health == Health::starting);
  bench.wait(milliseconds(999));
  CHECK(bench.count<StartProbe>() == 0);
  bench.wait(milliseconds(1));
  REQUIRE(bench.count<StartProbe>() == 1);
  const ProbeId id = bench.first<StartProbe>()->order.id;
  bench.probe_started(id);
  bench.wait(milliseconds(700));
  bench.probe_ended(id, 0);
  CHECK(bench.events() == "health_status: healthy");
  bench.wait(milliseconds(999));
  CHECK(bench.count<StartProbe>() == 0);
  bench.wait(milliseconds(1));
  CHECK(bench.count<StartProbe>() == 1);
}

TEST_CASE("health is told only when it changes, and the log keeps five") {
  Bench bench = watched(RestartPolicy::no, 3);
  bring_up(bench);
  for (int i = 0; i < 7; ++i) bench.probe(0);
  CHECK(bench.events().empty());
  CHECK(check_of(bench).log.size() == 5);
  for (int i = 0; i < 2; ++i) bench.probe(1);
  CHECK(bench.events().empty());
  bench.probe(1);
  CHECK(bench.events() == "health_status: unhealthy");
  CHECK(check_of(bench).failing_streak == 3);
  bench.probe(1);
  CHECK(bench.events().empty());
  CHECK(check_of(bench).failing_streak == 4);
}

TEST_CASE("a probe without an end is killed at its timeout, awaited, and then counted") {
  Bench bench = watched(RestartPolicy::no);
  bring_up(bench);
  const ProbeId id = next_probe(bench);
  bench.wait(seconds(5));
  CHECK(bench.count<KillProbe>() == 0);  // its timeout counts from its start
  bench.probe_started(id);
  bench.wait(seconds(1));
  REQUIRE(bench.count<KillProbe>() == 1);
  CHECK(check_of(bench).log.empty());
  bench.wait(seconds(3));
  CHECK(bench.count<StartProbe>() == 0);  // never a second one before the first is gone
  bench.probe_ended(id, 137, How::killed, "half");
  CHECK(bench.events() == "health_status: unhealthy");
  const ProbeResult& result = check_of(bench).log.back();
  CHECK(result.outcome == ProbeOutcome::timed_out);
  CHECK(result.exit_code == -1);
  CHECK(result.output == "Health check exceeded timeout (1s): half");
}

TEST_CASE("a probe that ended by itself while the kill was on its way says what it says") {
  Bench bench = watched(RestartPolicy::no);
  bring_up(bench);
  const ProbeId id = next_probe(bench);
  bench.probe_started(id);
  bench.wait(seconds(1));
  bench.probe_ended(id, 0);
  CHECK(check_of(bench).status == Health::healthy);
}

TEST_CASE("a probe that does not come to run fails after thirty seconds") {
  Bench bench = watched(RestartPolicy::no);
  bring_up(bench);
  const ProbeId id = next_probe(bench);
  bench.wait(seconds(30));
  CHECK(bench.count<KillProbe>() == 1);
  bench.probe_ended(id, 137, How::killed);
  CHECK(check_of(bench).log.back().output ==
        "timed out starting health check for container " + bench.container("web").id);
  CHECK(check_of(bench).status == Health::unhealthy);
}

TEST_CASE("a probe that is held up inside the container fails at its own timeout") {
  Bench bench = watched(RestartPolicy::no);
  bring_up(bench);
  const ProbeId id = next_probe(bench);
  bench.wait(seconds(3));
  bench.give(EngineEvent(ProbeEntered{id, bench.now.mono, bench.now.wall}));
  bench.wait(milliseconds(999));
  CHECK(bench.count<KillProbe>() == 0);
  bench.wait(milliseconds(1));
  REQUIRE(bench.count<KillProbe>() == 1);
  bench.give(EngineEvent(ProbeEntered{id, bench.now.mono, bench.now.wall}));  // changes nothing now
  bench.probe_ended(id, 137, How::killed);
  CHECK(check_of(bench).log.back().outcome == ProbeOutcome::start_failed);
  CHECK(check_of(bench).status == Health::unhealthy);

  // One that goes on has its whole timeout for its program.
  const ProbeId other = next_probe(bench);
  bench.give(EngineEvent(ProbeEntered{other, bench.now.mono, bench.now.wall}));
  bench.wait(milliseconds(900));
  bench.probe_started(other);
  bench.wait(milliseconds(900));
  CHECK(bench.count<KillProbe>() == 0);
  bench.probe_ended(other, 0);
  CHECK(check_of(bench).status == Health::healthy);
}

TEST_CASE("an entered probe with a long timeout is still bounded by the guard") {
  Bench bench = watched(RestartPolicy::no);
  spec_of(bench).timeout = seconds(300);
  bring_up(bench);
  const ProbeId id = next_probe(bench);
  bench.give(EngineEvent(ProbeEntered{id, bench.now.mono, bench.now.wall}));
  bench.wait(milliseconds(29'999));
  CHECK(bench.count<KillProbe>() == 0);
  bench.wait(milliseconds(1));
  CHECK(bench.count<KillProbe>() == 1);
}

TEST_CASE("the guard of a start that was late for our sake is not brought forward by entering") {
  Bench bench = watched(RestartPolicy::no);
  bring_up(bench);
  const ProbeId id = next_probe(bench);
  bench.move_to(bench.now.mono + seconds(31));  // nobody looked
  bench.give(Tick{});
  CHECK(bench.count<KillProbe>() == 0);
  bench.give(EngineEvent(ProbeEntered{id, bench.now.mono, bench.now.wall}));
  bench.wait(milliseconds(999));
  CHECK(bench.count<KillProbe>() == 0);
  bench.wait(milliseconds(1));
  CHECK(bench.count<KillProbe>() == 1);
}

TEST_CASE("orphans are counted whatever the result says") {
  Bench bench = watched(RestartPolicy::no);
  bring_up(bench);
  ProbeEnded event;
  event.probe = next_probe(bench);
  event.orphans = 2;
  bench.give(EngineEvent(event));
  event.probe = next_probe(bench);
  event.how = How::our_fault;
  event.orphans = 3;
  bench.give(EngineEvent(event));
  CHECK(check_of(bench).orphans_total == 5);
}

TEST_CASE("a program that is not there is an ordinary failure with its error as output") {
  Bench bench = watched(RestartPolicy::no);
  bring_up(bench);
  ProbeEnded event;
  event.probe = next_probe(bench);
  event.how = How::start_failed;
  event.code = 127;
  event.error = "exec: \"check\": not found";
  bench.give(EngineEvent(event));
  CHECK(check_of(bench).log.back().exit_code == -1);
  CHECK(check_of(bench).log.back().output == "exec: \"check\": not found");
  CHECK(check_of(bench).status == Health::unhealthy);
}

TEST_CASE("faults of our own never count") {
  Bench bench = watched(RestartPolicy::always);
  bring_up(bench);
  for (const How how : {How::our_fault, How::container_gone, How::our_fault}) {
    bench.probe_ended(next_probe(bench), 0, how);
    CHECK(check_of(bench).log.empty());
    CHECK(bench.container("web").health == Health::starting);
  }
  CHECK(check_of(bench).voided_total == 3);
  CHECK(check_of(bench).probes_total == 0);
}

TEST_CASE("who was not looking blames nobody") {
  Bench bench = watched(RestartPolicy::always);
  bring_up(bench);
  const ProbeId id = next_probe(bench);
  bench.probe_started(id);
  bench.move_to(bench.now.mono + seconds(60));  // the agent was stopped
  bench.give(Tick{});
  CHECK(bench.count<KillProbe>() == 1);
  bench.probe_ended(id, 137, How::killed);
  CHECK(bench.container("web").health == Health::starting);
  // What is due comes once, not sixty times.
  bench.wait(milliseconds(1000));
  CHECK(bench.count<StartProbe>() == 1);
}

TEST_CASE("unhealthy meets the restart policy") {
  struct Case {
    OnUnhealthy action;
    RestartPolicy policy;
    ServiceState during;
    ServiceState after;
  };
  using S = ServiceState;
  for (const Case& each : {
           Case{OnUnhealthy::policy, RestartPolicy::no, S::running, S::exited},
           Case{OnUnhealthy::policy, RestartPolicy::always, S::restarting, S::backoff},
           Case{OnUnhealthy::policy, RestartPolicy::unless_stopped, S::restarting, S::backoff},
           Case{OnUnhealthy::policy, RestartPolicy::on_failure, S::restarting, S::backoff},
           Case{OnUnhealthy::restart, RestartPolicy::no, S::restarting, S::backoff},
           Case{OnUnhealthy::stop, RestartPolicy::always, S::stopping, S::exited},
           Case{OnUnhealthy::kill, RestartPolicy::no, S::stopping, S::exited},
           Case{OnUnhealthy::kill, RestartPolicy::always, S::stopping, S::backoff},
           Case{OnUnhealthy::none, RestartPolicy::always, S::running, S::backoff},
       }) {
    Bench bench = watched(each.policy);
    spec_of(bench).on_unhealthy = each.action;
    bring_up(bench);
    bench.probe(1);
    INFO(static_cast<int>(each.action) << " " << static_cast<int>(each.policy));
    CHECK(bench.container("web").state == each.during);
    CHECK(bench.count<SignalContainer>() ==
          (each.action != OnUnhealthy::kill && each.during != S::running));
    CHECK(bench.count<KillContainer>() == (each.action == OnUnhealthy::kill));
    bench.exited("web", 0);
    const bool by_policy = each.during == S::running && each.policy == RestartPolicy::always;
    CHECK(bench.container("web").state == (by_policy ? S::backoff : each.after));
  }
}

TEST_CASE("a restart for being unhealthy: events, counters, reason") {
  Bench bench = watched(RestartPolicy::always);
  bring_up(bench);
  bench.probe(1);
  CHECK(bench.events() == "health_status: unhealthy, kill signal=15");
  bench.exited("web", 0);
  CHECK(bench.events() == "die exitCode=0, stop");
  const ContainerStatus& status = bench.container("web");
  CHECK(status.restart_count == 1);
  CHECK(status.restarts_total[static_cast<std::size_t>(RestartReason::unhealthy)] == 1);
  CHECK_THAT(status.last_restart_detail, StartsWith("healthcheck failed 1 time"));
  bench.wait(milliseconds(100));
  bench.started("web");
  CHECK(bench.events() == "start, restart reason=unhealthy");
  CHECK(status.health == Health::starting);
  CHECK(check_of(bench).failing_streak == 0);
  CHECK(check_of(bench).log.size() == 1);  // kept, as Docker does
}

TEST_CASE("no tries left: it is left running, and unhealthy") {
  Bench bench = watched(RestartPolicy::on_failure);
  bench.project.services[0].restart.max_attempts = 1;
  bring_up(bench);
  bench.probe(1);
  bench.exited("web", 0);
  bench.wait(milliseconds(100));
  bench.started("web");
  bench.probe(1);
  CHECK(bench.container("web").state == ServiceState::running);
  CHECK(bench.container("web").health == Health::unhealthy);
}

TEST_CASE("a missed moment is made up for: a policy that comes later acts at the next failure") {
  Bench bench = watched(RestartPolicy::no);
  bring_up(bench);
  bench.probe(1);
  CHECK(bench.container("web").state == ServiceState::running);
  bench.project.services[0].restart.policy = RestartPolicy::always;
  bench.configure();
  CHECK(bench.container("web").state == ServiceState::running);
  bench.probe(1);
  CHECK(bench.container("web").state == ServiceState::restarting);
}

TEST_CASE("observe counts what it would have done") {
  Bench bench = watched(RestartPolicy::always);
  spec_of(bench).observe = true;
  bring_up(bench);
  for (int i = 0; i < 3; ++i) bench.probe(1);
  CHECK(bench.container("web").state == ServiceState::running);
  CHECK(
      bench.container("web").suppressed_total[static_cast<std::size_t>(SuppressReason::observe)] ==
      1);
}

TEST_CASE("a ready check shows and does not act; an info check does not even show") {
  for (const CheckRole role : {CheckRole::ready, CheckRole::info}) {
    Bench bench = watched(RestartPolicy::always);
    spec_of(bench).role = role;
    bring_up(bench);
    bench.probe(1);
    CHECK(bench.container("web").state == ServiceState::running);
    CHECK(bench.container("web").health ==
          (role == CheckRole::ready ? Health::unhealthy : Health::none));
  }
}

TEST_CASE("probing ends when a stop begins") {
  Bench bench = watched(RestartPolicy::always);
  bring_up(bench);
  const ProbeId id = next_probe(bench);
  bench.probe_started(id);
  bench.command(Kind::stop, "web");
  CHECK(bench.count<KillProbe>() == 1);
  bench.probe_ended(id, 1);  // it had ended by itself just then
  CHECK(bench.events().empty());
  CHECK(bench.container("web").health == Health::starting);
  bench.wait(seconds(5));
  CHECK(bench.count<StartProbe>() == 0);
}

TEST_CASE("pausing freezes the verdict; after it a whole interval passes") {
  Bench bench = watched(RestartPolicy::always);
  bring_up(bench);
  bench.probe(0);
  const ProbeId id = next_probe(bench);
  bench.command(Kind::pause, "web");
  CHECK(bench.count<KillProbe>() == 1);
  bench.give(EngineEvent(ContainerPaused{bench.ref("web"), ""}));
  bench.probe_ended(id, 137, How::killed);
  bench.wait(seconds(100));
  CHECK(bench.count<StartProbe>() == 0);
  CHECK(bench.container("web").health == Health::healthy);
  bench.command(Kind::unpause, "web");
  bench.give(EngineEvent(ContainerResumed{bench.ref("web"), ""}));
  CHECK(bench.events() == "unpause");
  bench.wait(milliseconds(999));
  CHECK(bench.count<StartProbe>() == 0);
  bench.wait(milliseconds(1));
  CHECK(bench.count<StartProbe>() == 1);
}

TEST_CASE("a result of the run before does not touch the present one") {
  Bench bench = watched(RestartPolicy::always);
  bring_up(bench);
  const ProbeId id = next_probe(bench);
  bench.probe_started(id);
  bench.exited("web", 1);
  bench.wait(milliseconds(100));
  bench.started("web");
  bench.wait(milliseconds(1000));
  CHECK(bench.count<StartProbe>() == 0);  // the old one is not gone yet
  bench.probe_ended(id, 1);
  CHECK(bench.container("web").health == Health::starting);
  CHECK(bench.count<StartProbe>() == 1);  // now it is, and the next was due
}

TEST_CASE("probe_now, pause_check, resume_check") {
  Bench bench = watched(RestartPolicy::no);
  bring_up(bench);
  const auto request = bench.command(Kind::probe_now, "web");
  REQUIRE(bench.first<StartProbe>());
  const ProbeId id = bench.first<StartProbe>()->order.id;
  bench.probe_started(id);
  CHECK(bench.replied(request).empty());
  bench.probe_ended(id, 0);
  CHECK(bench.replied(request) == "ok");
  CHECK(bench.replied(bench.command(Kind::pause_check, "web")) == "ok");
  bench.wait(seconds(10));
  CHECK(bench.count<StartProbe>() == 0);
  CHECK(bench.replied(bench.command(Kind::resume_check, "web")) == "ok");
  bench.wait(seconds(1));
  CHECK(bench.count<StartProbe>() == 1);
  bench.give(Command{Kind::probe_now, 77, bench.container("web").id, 0, {}, "other"});
  CHECK_THAT(bench.replied(77), ContainsSubstring("cannot find check other"));
}

TEST_CASE("exit code 2 for ten intervals is told once") {
  Bench bench = watched(RestartPolicy::always);
  bring_up(bench);
  for (int i = 0; i < 9; ++i) bench.probe(2);
  CHECK(bench.events().empty());
  bench.probe(2);
  CHECK(bench.events() == "health_starting check=healthcheck");
  bench.probe(2);
  CHECK(bench.events().empty());
  CHECK(check_of(bench).starting_long_total == 1);
  CHECK(bench.container("web").state == ServiceState::running);
}

TEST_CASE("probe execs are told to those who ask for them") {
  Bench bench = watched(RestartPolicy::no);
  bring_up(bench);
  const ProbeId id = next_probe(bench);
  REQUIRE(bench.first<Emit>());
  CHECK(bench.first<Emit>()->event.action == "exec_create: check");
  CHECK(bench.first<Emit>()->event.probe);
  bench.probe_started(id);
  CHECK(bench.first<Emit>()->event.action == "exec_start: check");
  bench.probe_ended(id, 0);
  CHECK(bench.first<Emit>()->event.action == "exec_die");
  bench.supervisor.tell_probes(false);
  next_probe(bench);
  CHECK(bench.count<Emit>() == 0);
}

TEST_CASE("more probes than places wait their turn") {
  Bench bench;
  bench.project.probes_at_once = 50;
  constexpr int kPlaces = 50;
  constexpr int services = kPlaces + 10;
  for (int i = 0; i < services; ++i) {
    ServiceSpec service = checked_service("s" + std::to_string(i), RestartPolicy::no);
    service.checks[0].initial_delay = seconds(1);
    bench.project.services.push_back(service);
  }
  bench.configure();
  for (int i = 0; i < services; ++i) bench.started("s" + std::to_string(i));
  bench.wait(seconds(1));
  CHECK(bench.count<StartProbe>() == kPlaces);
  const ProbeId id = bench.first<StartProbe>()->order.id;
  bench.probe_started(id);
  bench.probe_ended(id, 0);
  CHECK(bench.count<StartProbe>() == 1);
  CHECK(bench.supervisor.probes_in_flight() == kPlaces);
  CHECK(bench.supervisor.probes_waiting() == 9);
}

}  // namespace
}  // namespace keepwell
