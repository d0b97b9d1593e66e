#include "probes/health_tracker.h"

#include "tests/catch.h"

namespace keepwell {
namespace {

using std::chrono::seconds;

const Instant kStart(std::chrono::hours(1));

struct Case {
  HealthTracker tracker;
  CheckSpec spec;

  Health at(int second, int exit_code) {
    ProbeResult result;
    result.exit_code = exit_code;
    if (exit_code == -1) result.outcome = ProbeOutcome::timed_out;
    result.started = kStart + seconds(second);
    result.ended = result.started + seconds(1);
    (void)tracker.apply(spec, kStart, result);
    return tracker.status();
  }
  int streak() const { return tracker.record().failing_streak; }
};

CheckSpec spec_of(int retries, int start_period = 0) {
  CheckSpec spec;
  spec.retries = retries;
  spec.start_period = seconds(start_period);
  return spec;
}

TEST_CASE("moby's vectors: one retry") {
  Case c{{}, spec_of(1)};
  CHECK(c.at(20, 1) == Health::unhealthy);
  CHECK(c.at(40, 0) == Health::healthy);
  CHECK(c.at(60, 1) == Health::unhealthy);
}

TEST_CASE("moby's vectors: three retries") {
  Case c{{}, spec_of(3)};
  CHECK(c.at(20, 1) == Health::starting);
  CHECK(c.at(40, 1) == Health::starting);
  CHECK(c.streak() == 2);
  CHECK(c.at(60, 1) == Health::unhealthy);
  CHECK(c.at(80, 0) == Health::healthy);
  CHECK(c.streak() == 0);
}

TEST_CASE("moby's vectors: a start period") {
  Case c{{}, spec_of(2, 30)};
  CHECK(c.at(20, 1) == Health::starting);
  CHECK(c.streak() == 0);
  CHECK(c.at(50, 1) == Health::starting);
  CHECK(c.streak() == 1);
  CHECK(c.at(80, 0) == Health::healthy);
  CHECK(c.streak() == 0);
}

TEST_CASE("the probe's start counts for the start period, not its end") {
  Case c{{}, spec_of(1, 30)};
  ProbeResult result;
  result.exit_code = 1;
  result.started = kStart + seconds(29);
  result.ended = kStart + seconds(45);
  CHECK_FALSE(c.tracker.apply(c.spec, kStart, result));
  CHECK(c.tracker.status() == Health::starting);
}

TEST_CASE("one success ends the start period for good") {
  Case c{{}, spec_of(1, 60)};
  CHECK(c.at(5, 1) == Health::starting);
  CHECK(c.at(10, 0) == Health::healthy);
  CHECK(c.at(15, 1) == Health::unhealthy);
}

TEST_CASE("a success while healthy ends the streak (nerdctl adds them up)") {
  Case c{{}, spec_of(3)};
  (void)c.at(1, 0);
  for (const int code : {1, 0, 1, 0, 1}) CHECK(c.at(10, code) == Health::healthy);
  CHECK(c.streak() == 1);
}

TEST_CASE("the streak grows on while unhealthy") {
  Case c{{}, spec_of(1)};
  for (int i = 1; i <= 5; ++i) CHECK(c.at(i, -1) == Health::unhealthy);
  CHECK(c.streak() == 5);
}

TEST_CASE("exit code 2 says starting, but only while it is starting") {
  Case c{{}, spec_of(2)};
  (void)c.at(1, 1);
  CHECK(c.streak() == 1);
  CHECK(c.at(2, 2) == Health::starting);
  CHECK(c.streak() == 1);  // neither success nor failure
  CHECK(c.at(3, 0) == Health::healthy);
  CHECK(c.at(4, 2) == Health::healthy);
  CHECK(c.at(5, 2) == Health::unhealthy);
}

TEST_CASE("max_starting bounds exit code 2") {
  Case c{{}, spec_of(1)};
  c.spec.max_starting = seconds(10);
  CHECK(c.at(9, 2) == Health::starting);
  CHECK(c.at(10, 2) == Health::unhealthy);
}

TEST_CASE("exit code 2 of a probe that is no program is a failure") {
  Case c{{}, spec_of(1)};
  c.spec.kind = ProbeKind::http;
  CHECK(c.at(1, 2) == Health::unhealthy);
}

TEST_CASE("ten exit codes 2 in a row are worth a notice, once") {
  Case c{{}, spec_of(1)};
  int notices = 0;
  for (int i = 1; i <= 25; ++i) {
    (void)c.at(i, 2);
    notices += c.tracker.starting_notice() ? 1 : 0;
  }
  CHECK(notices == 1);
}

TEST_CASE("a voided result changes nothing") {
  Case c{{}, spec_of(1)};
  (void)c.at(1, 0);
  const HealthRecord before = c.tracker.record();
  ProbeResult result;
  result.outcome = ProbeOutcome::voided;
  result.exit_code = 1;
  CHECK_FALSE(c.tracker.apply(c.spec, kStart, result));
  CHECK(c.tracker.record() == before);
}

TEST_CASE("success_threshold asks for several successes in a row") {
  Case c{{}, spec_of(1)};
  c.spec.success_threshold = 2;
  CHECK(c.at(1, 0) == Health::starting);
  CHECK(c.at(2, 1) == Health::unhealthy);
  CHECK(c.at(3, 0) == Health::unhealthy);
  CHECK(c.at(4, 0) == Health::healthy);
}

TEST_CASE("a record that was stored is taken up as it was") {
  HealthTracker tracker(
      {.status = Health::healthy, .failing_streak = 2, .success_streak = 0, .starting_results = 0});
  ProbeResult result;
  result.exit_code = 1;
  result.started = kStart;
  const auto transition = tracker.apply(spec_of(3), kStart, result);
  REQUIRE(transition);
  CHECK(*transition == Transition{Health::healthy, Health::unhealthy});
}

}  // namespace
}  // namespace keepwell
