// Scripts and recorded histories, played into the real Supervisor.
#include "agent/simulation/recorded_world.h"
#include "agent/simulation/script.h"
#include "agent/simulation/timeline.h"
#include "exporters/journal.h"
#include "tests/catch.h"
#include "tests/unit/agent/supervisor_fixture.h"

using namespace keepwell;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

constexpr WallTime kBegin{seconds(1'767'225'600)};

std::shared_ptr<const ProjectSpec> project(std::vector<ServiceSpec> services) {
  auto made = std::make_shared<ProjectSpec>();
  made->name.assign(1, 'p');
  made->services = std::move(services);
  return made;
}

struct Played {
  std::vector<Event> events;
  std::string text;
  std::string journal;
  std::vector<ContainerStatus> end;
};

void note(Played& played, const Timeline& timeline, const Event& event) {
  played.events.push_back(event);
  played.text += timeline.line(event);
  played.journal += journal_line(event);
}

Played play(std::shared_ptr<const ProjectSpec> with, const std::string& script, Duration length) {
  Played played;
  const Timeline timeline({.begin = kBegin});
  ScriptedWorld world;
  Simulation simulation({.project = with,
                         .world = world.world(),
                         .begin = kBegin,
                         .capture_time = [](const Capture&, Now) { return milliseconds(50); },
                         .on_event = [&](const Event& event) { note(played, timeline, event); }});
  const auto lines = parse_script(script, *with);
  REQUIRE(lines);
  world.plan(simulation, *lines, kBegin);
  simulation.run_until(kBegin + length);
  CHECK(simulation.violation().empty());
  for (const ContainerStatus* each : simulation.supervisor().containers()) {
    played.end.push_back(*each);
  }
  return played;
}

Played replay(std::shared_ptr<const ProjectSpec> with, const std::string& journal,
              const RecordedWorld::FindConfig& config = {}) {
  Played played;
  const JournalScan scan = scan_journal(journal);
  RecordedWorld world(scan.events);
  const Timeline timeline({.begin = world.begin()});
  Simulation simulation({.project = with,
                         .world = world.world(),
                         .begin = world.begin(),
                         .capture_time = world.capture_time(),
                         .replay = world.replay(),
                         .on_event = [&](const Event& event) { note(played, timeline, event); }});
  world.plan(simulation, config);
  simulation.run_until(world.end());
  CHECK(simulation.violation().empty());
  return played;
}

// When services were started, to the millisecond.
std::string starts(const Played& played) {
  std::string text;
  for (const Event& event : played.events) {
    if (event.kind != EventKind::event || event.action != "start") continue;
    text += event.name + " " + std::to_string((event.at - kBegin) / milliseconds(1)) + ", ";
  }
  return text;
}

void check_same(const Played& first, const Played& again) {
  const Comparison comparison = compare_decisions(first.events, again.events);
  CHECK(comparison.recorded == comparison.simulated);
  for (const std::string& difference : comparison.differences) {
    INFO(difference);
    CHECK(false);
  }
}

std::string said(const char* script) {
  const auto lines =
      parse_script(script, *project({checked_service("web", RestartPolicy::always)}));
  return lines ? "" : lines.error().text;
}

}  // namespace

TEST_CASE("script: what is wrong is told by its line") {
  CHECK(said("10s web fails\n# nothing\n\n1m web/healthcheck passes # well\nat 2m end") == "");
  CHECK(said("10s web fails\n10 web fails").find("line 2") != std::string::npos);
  CHECK(said("10s wbe fails").find("no service wbe") != std::string::npos);
  CHECK(said("10s web/x fails").find("no check x") != std::string::npos);
  CHECK(said("10s web sings").find("not known") != std::string::npos);
  CHECK(said("10s web exits").find("exits CODE") != std::string::npos);
  CHECK(said("10s host pressure cpu 140%").find("write host") != std::string::npos);
  CHECK(said("10s").find("says nothing") != std::string::npos);
  CHECK(said("100000h web fails").find("too long") != std::string::npos);
}

TEST_CASE("simulate: the same input gives the same bytes") {
  const auto with = project({checked_service("web", RestartPolicy::always, 3)});
  const char* script =
      "5s web fails\n30s web passes\n1m web exits 1\n90s web hangs\n100s web passes";
  const Played first = play(with, script, minutes(3));
  CHECK(first.text == play(with, script, minutes(3)).text);
  CHECK(first.text.find("restarted") != std::string::npos);
  CHECK(first.end[0].restarts_total[static_cast<std::size_t>(RestartReason::exit)] == 1);
  CHECK(first.end[0].restarts_total[static_cast<std::size_t>(RestartReason::unhealthy)] >= 2);
  CHECK(first.end[0].health == Health::healthy);
}

TEST_CASE("simulate: guards show") {
  ServiceSpec service = checked_service("web", RestartPolicy::always);
  service.pressure_guard.on = true;
  service.pressure_guard.max_hold = seconds(20);
  const Played held = play(project({service}),
                           "5s host pressure cpu 90%\n5s web hangs\n15s web passes", minutes(1));
  CHECK(held.end[0].restarts_total[static_cast<std::size_t>(RestartReason::unhealthy)] == 0);
  CHECK(held.end[0].suppressed_total[static_cast<std::size_t>(SuppressReason::pressure)] == 1);
  const Played hung = play(project({service}),
                           "5s host pressure cpu 90%\n5s web hangs\n50s web passes", minutes(1));
  CHECK(hung.end[0].restarts_total[static_cast<std::size_t>(RestartReason::unhealthy)] >= 1);
  const Played quiet = play(project({service}), "5s web hold 2m looking\n6s web fails", minutes(1));
  CHECK(quiet.end[0].starts_total == 1);
}

TEST_CASE("simulate: a journal replayed takes the same decisions") {
  std::vector<ServiceSpec> services{checked_service("web", RestartPolicy::always, 3),
                                    checked_service("db", RestartPolicy::always, 2)};
  services[0].flap = {.on = true, .window = 10, .high = 0.4, .low = 0.2};
  services[0].capture.on = true;
  services[1].pressure_guard.on = true;
  services[1].pressure_guard.max_hold = seconds(8);
  auto with = std::make_shared<ProjectSpec>(*project(services));
  with->restart_budget = {.count = 2, .window = seconds(30)};
  const char* script = R"(
20s web fails 7
40s web passes
70s host pressure cpu 80%
70s db hangs
95s db passes
2m  web exits 3
130s web exits oom
150s web hold 20s deploy
151s web fails
3m  web passes
200s db fails
201s web fails
230s db passes
230s web passes
250s db restart
)";
  const Played first = play(with, script, minutes(5));
  const Played again = replay(with, first.journal);
  CHECK(compare_decisions(first.events, again.events).recorded > 5);
  check_same(first, again);
}

TEST_CASE("simulate: a replay draws the jitter that was drawn") {
  ServiceSpec service = checked_service("web", RestartPolicy::always, 1);
  service.restart.delay = seconds(20);
  service.restart.jitter = 1;
  const auto with = project({service});
  const Played first = play(
      with, "10s web exits 1\n100s web exits 1\n200s web exits 1\n300s web exits 1", minutes(8));
  const Played again = replay(with, first.journal);
  CHECK(first.end[0].starts_total == 5);
  CHECK(starts(first) == starts(again));
  check_same(first, again);
}

TEST_CASE("simulate: a replay reloads what was reloaded, and lives through the agent's death") {
  ServiceSpec web = checked_service("web", RestartPolicy::always, 3);
  const auto before = project({web});
  web.checks[0].retries = 1;
  web.restart.policy = RestartPolicy::no;
  web.checks[0].on_unhealthy = OnUnhealthy::restart;
  ServiceSpec db = checked_service("db", RestartPolicy::always, 2);
  const auto after = project({web, db});
  const RecordedWorld::FindConfig config = [&](const std::string& name) {
    return name == "b" ? after : name == "a" ? before : nullptr;
  };

  Played first;
  const Timeline timeline({.begin = kBegin});
  ScriptedWorld world;
  std::string names = "abbb";
  Simulation simulation({.project = before,
                         .world = world.world(),
                         .begin = kBegin,
                         .capture_time = [](const Capture&, Now) { return milliseconds(50); },
                         .on_event =
                             [&](Event event) {
                               if (event.action == "configure") {
                                 event.attributes.emplace_back("config", names.substr(0, 1));
                                 names.erase(0, 1);
                               }
                               note(first, timeline, event);
                             }});
  const auto lines = parse_script(
      "10s web fails\n16s web passes\n70s web fails\n75s web passes\n100s db fails\n"
      "110s db passes\n130s web exits 1\n150s db exits 1\n190s web fails\n195s web passes",
      *after);
  REQUIRE(lines);
  world.plan(simulation, *lines, kBegin);
  simulation.plan(kBegin + seconds(40), [&] { simulation.give(Configure{after}); });
  simulation.plan(kBegin + seconds(103), [&] { simulation.restart_agent(after); });
  simulation.plan(kBegin + seconds(160), [&] { simulation.give(Shutdown{}); });
  simulation.plan(kBegin + seconds(170), [&] { simulation.restart_agent(after); });
  simulation.run_until(kBegin + minutes(4));
  CHECK(simulation.violation().empty());
  CHECK(compare_decisions(first.events, {}).recorded >= 5);

  const Played again = replay(before, first.journal, config);
  check_same(first, again);
  // With one file for all of it, one sees what that file would have done.
  const Played other = replay(before, first.journal);
  CHECK_FALSE(compare_decisions(first.events, other.events).differences.empty());
}

TEST_CASE("simulate: records of a newer version are left out") {
  const auto with = project({checked_service("web", RestartPolicy::always, 2)});
  const Played first = play(with, "5s web fails\n20s web passes", minutes(1));
  std::string journal = first.journal;
  const std::size_t middle = journal.find('\n', journal.size() / 2) + 1;
  journal.insert(middle, R"({"v":2,"seq":"another kind","what":{"nested":[1]}})"
                         "\n");
  CHECK(scan_journal(journal).newer == 1);
  CHECK(scan_journal(journal).torn == 0);
  check_same(first, replay(with, journal));
}

TEST_CASE("simulate: a torn journal is replayed as far as it goes") {
  const auto with = project({checked_service("web", RestartPolicy::always, 2)});
  const std::string journal = play(with, "5s web fails\n20s web passes", minutes(1)).journal;
  for (std::size_t cut = 1; cut < journal.size(); cut += 97) {
    replay(with, journal.substr(0, cut));
    replay(with, journal.substr(cut));
  }
}

TEST_CASE("simulate: another file shows what would have been") {
  ServiceSpec service = checked_service("web", RestartPolicy::always, 1);
  const Played first = play(project({service}), "10s web fails\n11s web passes", minutes(1));
  CHECK(first.end[0].starts_total == 2);
  service.checks[0].retries = 5;
  std::uint64_t restarts = 0;
  for (const Event& event : replay(project({service}), first.journal).events) {
    restarts += event.kind == EventKind::decision && event.action == "restart" ? 1 : 0;
  }
  CHECK(restarts == 0);
}
