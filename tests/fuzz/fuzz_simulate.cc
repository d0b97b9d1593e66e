// Any bytes as a script, and as the journal of a production: what is accepted is played for ten
// minutes of a virtual clock, in which the Supervisor must hold its own and ask nothing wrong of
// the engine.
// Links: agent
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string_view>

#include "agent/simulation/recorded_world.h"
#include "agent/simulation/script.h"
#include "config/check.h"
#include "exporters/journal.h"

using namespace keepwell;

namespace {

constexpr WallTime kBegin{std::chrono::seconds(1'767'225'600)};
constexpr Duration kLength = std::chrono::minutes(10);

std::shared_ptr<const ProjectSpec> project() {
  auto made = std::make_shared<ProjectSpec>();
  made->name.assign(1, 'p');
  made->restart_budget = {.count = 2, .window = std::chrono::seconds(30)};
  for (const char* name : {"web", "db"}) {
    ServiceSpec service;
    service.name = name;
    service.runtime = RuntimeKind::process;
    service.command = {{"serve"}};
    service.restart.policy = RestartPolicy::always;
    service.restart.jitter = 0.5;
    service.flap.on = true;
    service.pressure_guard.on = true;
    CheckSpec check;
    check.test = {"CMD", "check"};
    check.interval = std::chrono::seconds(5);
    check.timeout = std::chrono::seconds(1);
    check.retries = 2;
    service.checks.push_back(check);
    made->services.push_back(service);
  }
  made->services[0].depends_on.push_back({.service = "db"});
  return made;
}

Simulation::Options options(const std::shared_ptr<const ProjectSpec>& with, WallTime begin) {
  return {.project = with,
          .world = {},
          .begin = begin,
          .capture_time = [](const Capture&, Now) { return std::chrono::milliseconds(50); },
          .on_event = [](const Event&) {}};
}

void play_script(const std::shared_ptr<const ProjectSpec>& with, std::string_view text) {
  const auto lines = parse_script(text, *with);
  if (!lines) return;
  ScriptedWorld world;
  Simulation::Options how = options(with, kBegin);
  how.world = world.world();
  Simulation simulation(std::move(how));
  world.plan(simulation, *lines, kBegin);
  simulation.run_until(kBegin + kLength);
  KW_CHECK(simulation.violation().empty());
}

void play_journal(const std::shared_ptr<const ProjectSpec>& with, std::string_view text) {
  RecordedWorld world(scan_journal(text).events);
  Simulation::Options how = options(with, world.begin());
  how.world = world.world();
  how.capture_time = world.capture_time();
  how.replay = world.replay();
  Simulation simulation(std::move(how));
  world.plan(simulation, [&](const std::string&) { return with; });
  simulation.run_until(std::min(world.end(), world.begin() + kLength));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::shared_ptr<const ProjectSpec> kProject = project();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  play_script(kProject, text);
  play_journal(kProject, text);
  return 0;
}
