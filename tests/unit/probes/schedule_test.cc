#include <set>
#include <vector>

#include "probes/due_queue.h"
#include "probes/probe_output.h"
#include "probes/probe_schedule.h"
#include "probes/rollup.h"
#include "tests/catch.h"

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_CASE("start_interval is for the start period alone, and does not reach beyond it") {
  CheckSpec spec;
  spec.interval = seconds(30);
  spec.start_interval = seconds(5);
  CHECK(next_wait(spec, Health::starting, seconds(0)) == seconds(30));  // no start period
  spec.start_period = seconds(12);
  CHECK(next_wait(spec, Health::starting, seconds(0)) == seconds(5));
  CHECK(next_wait(spec, Health::healthy, seconds(5)) == seconds(30));
  CHECK(next_wait(spec, Health::starting, seconds(10)) == seconds(2));
  CHECK(next_wait(spec, Health::starting, seconds(12)) == seconds(30));
}

TEST_CASE("a spread only shortens the first wait") {
  CheckSpec spec;
  spec.interval = seconds(10);
  CHECK(first_wait(spec, 0, 0.7) == seconds(10));
  CHECK(first_wait(spec, 0.5, 0.5) == milliseconds(7500));
  CHECK(first_wait(spec, 1, 1) == milliseconds(1));  // never 0
  spec.initial_delay = milliseconds(20);
  CHECK(first_wait(spec, 1, 1) == milliseconds(20));
}

TEST_CASE("phases are the same in every run, and spread well") {
  CHECK(phase_of("web/healthcheck") == phase_of("web/healthcheck"));
  std::vector<int> buckets(10);
  for (int i = 0; i < 1000; ++i) {
    const double phase = phase_of("project-s" + std::to_string(i) + "-1/healthcheck");
    REQUIRE((phase >= 0 && phase < 1));
    buckets[static_cast<std::size_t>(phase * 10)]++;
  }
  for (const int count : buckets) CHECK((count > 60 && count < 140));
}

Instant at(int second) { return Instant(seconds(second)); }

TEST_CASE("a due queue gives each key once, in order") {
  DueQueue queue;
  queue.set(1, at(30));
  queue.set(2, at(10));
  queue.set(3, at(10));
  queue.set(1, at(20));  // replaces
  CHECK(queue.next() == at(10));
  CHECK_FALSE(queue.pop(at(9)));
  CHECK(queue.pop(at(25))->key == 2);
  CHECK(queue.pop(at(25))->key == 3);
  CHECK(queue.pop(at(25))->key == 1);
  CHECK_FALSE(queue.pop(at(99)));
  CHECK_FALSE(queue.next());
}

TEST_CASE("what was cancelled or moved is not due") {
  DueQueue queue;
  queue.set(1, at(10));
  queue.set(2, at(20));
  queue.cancel(1);
  queue.cancel(7);
  CHECK(queue.next() == at(20));
  queue.set(2, at(40));
  CHECK(queue.next() == at(40));
  CHECK(queue.at(2) == at(40));
  CHECK_FALSE(queue.at(1));
}

TEST_CASE("a million moves of a few keys do not pile up") {
  DueQueue queue;
  for (int i = 0; i < 1000000; ++i) {
    queue.set(static_cast<DueQueue::Key>(i % 3), at(1000 + i % 77));
  }
  CHECK(queue.size() == 3);
  int popped = 0;
  while (queue.pop(at(99999))) popped++;
  CHECK(popped == 3);
}

TEST_CASE("roll-up") {
  const auto of = [](std::vector<CheckVerdict> checks) { return roll_up(checks); };
  const auto live = CheckRole::live;
  CHECK(of({}) == Health::none);
  CHECK(of({{CheckRole::info, Health::unhealthy}}) == Health::none);
  CHECK(of({{live, Health::healthy}, {CheckRole::info, Health::unhealthy}}) == Health::healthy);
  CHECK(of({{live, Health::healthy}, {CheckRole::startup, Health::starting}}) == Health::starting);
  CHECK(of({{live, Health::starting}, {live, Health::unhealthy}}) == Health::unhealthy);
  CHECK(of({{CheckRole::ready, Health::unhealthy}, {live, Health::healthy}}) == Health::unhealthy);
  CHECK_FALSE(acts(CheckRole::ready));
}

TEST_CASE("output is cut at 4096 bytes, and says so") {
  CHECK(capped_output("abc", 3) == "abc");
  CHECK(capped_output(std::string(4096, 'x'), 4096).size() == 4096);
  const std::string cut = capped_output(std::string(4096, 'x'), 4097);
  CHECK(cut.size() == 4099);
  CHECK(cut.substr(4096) == "...");
  CHECK(capped_output(std::string(9000, 'x'), 9000).size() == 4099);
}

TEST_CASE("the texts that Docker's tests compare") {
  CHECK(timeout_text(seconds(1), "") == "Health check exceeded timeout (1s)");
  CHECK(timeout_text(milliseconds(50), "") == "Health check exceeded timeout (50ms)");
  CHECK(timeout_text(seconds(90), "half") == "Health check exceeded timeout (1m30s): half");
  CHECK(start_guard_text("3f2a") == "timed out starting health check for container 3f2a");
}

}  // namespace
}  // namespace keepwell
