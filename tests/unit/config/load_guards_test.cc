// restart_budget, pressure_guard, incidents, journal; priority, flap, capture.
#include "config/diff.h"
#include "config/print.h"
#include "config/spec_json.h"
#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

constexpr const char* kAll = R"(
x-keepwell:
  runtime: process
  restart_budget: { count: 5, window: 2m }
  pressure_guard: { cpu: 70%, max_hold: 1m }
  incidents: { count: 10, max_size: 1m }
  journal: { max_size: 1m, max_files: 2 }
services:
  web:
    command: x
    x-keepwell:
      priority: 7
      flap: { window: 10, high: 60%, low: 30% }
      capture: { timeout: 2s, log_lines: 5, command: [date, -u] }
      pressure_guard: { io: 10% }
  db:
    command: x
    x-keepwell: { flap: on, capture: off, pressure_guard: off }
  plain:
    command: x
)";

}  // namespace

TEST_CASE("guards: every key") {
  const Loaded loaded = load_text(kAll);
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  const ProjectSpec& p = *loaded.project;
  CHECK(p.restart_budget == RestartBudgetSpec{.count = 5, .window = minutes(2)});
  CHECK(p.pressure_guard.on);
  CHECK(p.pressure_guard.cpu == 0.7);
  CHECK(p.incidents == IncidentsSpec{.count = 10, .bytes_max = 1 << 20});
  CHECK(p.journal == JournalSpec{.file_bytes_max = 1 << 20, .files_max = 2});
  const ServiceSpec& web = p.services[0];
  CHECK(web.priority == 7);
  CHECK(web.flap == FlapSpec{.on = true, .window = 10, .high = 0.6, .low = 0.3});
  CHECK(web.capture ==
        CaptureSpec{.on = true, .timeout = seconds(2), .log_lines = 5, .command = {"date", "-u"}});
  CHECK(web.pressure_guard.io == 0.1);
  CHECK(web.pressure_guard.cpu == 0.7);  // the file's, where the service says nothing
  CHECK(p.services[1].flap.on);
  CHECK_FALSE(p.services[1].capture.on);
  CHECK_FALSE(p.services[1].pressure_guard.on);
  CHECK(p.services[2].pressure_guard.max_hold == minutes(1));
}

TEST_CASE("guards: printed and stored, they come back") {
  const Loaded loaded = load_text(kAll);
  REQUIRE(loaded.project);
  CHECK(project_from_json(project_to_json(*loaded.project)).value() == *loaded.project);
  const Loaded again = load_text(print_project(*loaded.project));
  INFO(listing(again));
  REQUIRE(again.project);
  CHECK(again.project->services == loaded.project->services);
  CHECK(again.project->restart_budget == loaded.project->restart_budget);
}

TEST_CASE("guards: they change in place") {
  const ProjectSpec before = *load_text(kAll).project;
  ProjectSpec after = before;
  after.services[0].priority = 1;
  after.services[0].flap.on = false;
  after.services[0].capture.on = false;
  after.services[0].pressure_guard.on = false;
  after.restart_budget.count = 1;
  const ProjectDiff diff = diff_projects(before, after);
  REQUIRE(diff.services.size() == 1);
  CHECK(diff.services[0].change == ServiceChange::update);
  CHECK(diff.services[0].fields ==
        std::vector<std::string>{"priority", "pressure_guard", "flap", "capture"});
  CHECK(diff.settings == std::vector<std::string>{"restart_budget"});
}

TEST_CASE("guards: mistakes") {
  const auto said = [](const std::string& top, const std::string& own) {
    return listing(load_text("x-keepwell: { runtime: process" + top +
                             " }\nservices: { web: { command: x, x-keepwell: {" + own + "} } }\n"));
  };
  CHECK(said(", restart_budget: { window: 1m }", "").find("has no count") != std::string::npos);
  CHECK(said(", restart_budget: on", "").find("has no count") != std::string::npos);
  CHECK(said(", restart_budget: { count: 0 }", "").find("restart_budget.count") !=
        std::string::npos);
  CHECK(said(", restart_budget: { count: 1, window: 0s }", "").find("no length of time") !=
        std::string::npos);
  CHECK(said(", pressure_guard: { cpu: 140% }", "").find("pressure_guard.cpu") !=
        std::string::npos);
  CHECK(said(", pressure_guard: perhaps", "").find("pressure_guard \"perhaps\"") !=
        std::string::npos);
  CHECK(said(", journal: { max_size: 1k }", "").find("too small") != std::string::npos);
  CHECK(said("", " flap: { high: 10%, low: 20% } ").find("swap them") != std::string::npos);
  CHECK(said("", " flap: { window: 100 } ").find("flap.window") != std::string::npos);
  CHECK(said("", " capture: { command: date } ").find("no list") != std::string::npos);
  CHECK(said("", " priority: high ").find("priority") != std::string::npos);
}
