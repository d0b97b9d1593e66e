#include "agent/log_totals.h"

#include "tests/catch.h"

namespace keepwell {

TEST_CASE("log totals grow with every container, and never shrink") {
  LogTotals logs;
  logs.see("a", {.bytes = 10, .lines = 2, .rotations = 1});
  CHECK(logs.totals().bytes_total == 10);
  logs.see("a", {.bytes = 15, .lines = 3, .rotations = 1});
  logs.see("b", {.bytes = 100, .write_failures = 4, .stalled = std::chrono::seconds(2)});
  CHECK(logs.totals().bytes_total == 115);
  CHECK(logs.totals().lines_total == 3);
  CHECK(logs.totals().rotations_total == 1);
  CHECK(logs.totals().write_failures_total == 4);
  CHECK(logs.totals().stalled_total == std::chrono::seconds(2));
  logs.keep({"b"});
  logs.see("b", {.bytes = 7});  // its record was begun anew
  CHECK(logs.totals().bytes_total == 122);
  CHECK(logs.totals().write_failures_total == 4);
}

}  // namespace keepwell
