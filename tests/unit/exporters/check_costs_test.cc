#include "exporters/check_costs.h"

#include "tests/unit/exporters/fixtures.h"

namespace keepwell {
namespace {

TEST_CASE("what checks cost, per probe and in all") {
  ContainerStatus container = web();
  CheckStatus& check = container.checks.at(0);
  check.probes_total = 200;
  check.failures_total = {};
  check.failures_total[0] = 3;
  check.cpu_total = std::chrono::milliseconds(1500);
  check.max_rss_bytes = 3 << 20;
  check.last_start_latency = std::chrono::microseconds(640);
  check.orphans_total = 7;
  CheckSpec http;
  http.name = "port";
  http.kind = ProbeKind::http;
  container.checks.emplace_back().spec = std::make_shared<const CheckSpec>(http);
  const ContainerStatus* all[] = {&container};

  auto rows = check_costs_table(check_costs_json(all));
  REQUIRE(rows.has_value());
  REQUIRE(rows->size() == 3);
  CHECK(rows->at(1) == std::vector<std::string>{"shop-web-1", "healthcheck", "healthy", "200", "3",
                                                "7.50 ms", "1.50 s", "3.0 MiB", "0.64 ms", "7"});
  // No process: no CPU of its own, and no orphans.
  CHECK(rows->at(2) == std::vector<std::string>{"shop-web-1", "port", "none", "0", "0", "-", "-",
                                                "-", "0.00 ms", "-"});
  CHECK(rows->at(0).size() == rows->at(1).size());
}

TEST_CASE("what is no list of checks is refused") {
  for (const char* text : {"", "{}", "[1]", "nonsense"}) CHECK_FALSE(check_costs_table(text));
  CHECK(check_costs_table("[]")->size() == 1);
}

}  // namespace
}  // namespace keepwell
