// What was told before the agent's death is told the same way after it, once, also by a disk that
// was full for a while.
#include "agent/event_log.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "agent/event_bus.h"
#include "exporters/event_json.h"
#include "tests/catch.h"

namespace keepwell {
namespace {

struct TempDir {
  TempDir() {
    char name[] = "/tmp/kw-events-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path); }
  std::string path;
};

Event example(std::uint64_t ordinal) {
  auto spec = std::make_shared<ServiceSpec>();
  spec->name = "web";
  spec->rootfs = "/srv/web";
  spec->labels = {{"a", "b"}};
  Event event;
  event.sequence = 100 + ordinal;
  event.ordinal = ordinal;
  event.at = WallTime(std::chrono::nanoseconds(1'795'550'400'123'456'789));
  event.action = "die";
  event.id = std::string(64, 'a');
  event.name = "p-web-1";
  event.project = "p";
  event.spec = spec;
  event.attributes = {{"exitCode", "3"}};
  event.incident = "a38dfdd9adcc";
  return event;
}

}  // namespace

TEST_CASE("an event that comes back from disk is told as it was told") {
  TempDir dir;
  Event event = example(7);
  REQUIRE(EventLog(dir.path).append(event));
  std::deque<Event> back = EventLog(dir.path).load();
  REQUIRE(back.size() == 1);
  CHECK(event_json(back[0]) == event_json(event));
  CHECK(back[0].sequence == event.sequence);
  CHECK(back[0].ordinal == 7);
}

TEST_CASE("events that the disk refused are there when it takes them again, behind a torn line") {
  TempDir dir;
  EventLog log(dir.path);
  REQUIRE(log.append(example(1)));
  std::string path = dir.path + "/events.log";
  std::filesystem::rename(path, path + ".kept");
  ::mkdir(path.c_str(), 0700);  // nothing can be appended to it
  CHECK_FALSE(log.append(example(2)));
  CHECK(log.append(example(3)));  // said once
  CHECK(log.write_failures() == 2);
  std::filesystem::remove(path);
  std::filesystem::rename(path + ".kept", path);
  std::ofstream(path, std::ios::app) << "{\"sequence\": 4";  // what a full disk may leave
  REQUIRE(log.append(example(5)));
  std::vector<std::uint64_t> ordinals;
  for (const Event& event : EventLog(dir.path).load()) ordinals.push_back(event.ordinal);
  CHECK(ordinals == std::vector<std::uint64_t>{1, 2, 3, 5});
}

TEST_CASE("a log that was removed is written anew") {
  TempDir dir;
  EventLog log(dir.path);
  REQUIRE(log.append(example(1)));
  std::filesystem::remove(dir.path + "/events.log");
  REQUIRE(log.rewrite({example(1), example(2)}));
  REQUIRE(log.append(example(3)));
  CHECK(EventLog(dir.path).load().size() == 3);
}

TEST_CASE("an event is stored before anybody is told") {
  EventBus bus;
  std::vector<std::string> order;
  bus.store_with([&](const Event& event) { order.push_back("stored " + event.action); });
  EventBus::Subscription listening =
      bus.subscribe([&](const Event& event) { order.push_back("told " + event.action); });
  bus.publish(example(1));
  Event probe = example(2);
  probe.action = "exec_start";
  probe.probe = true;
  bus.publish(probe);
  CHECK(order == std::vector<std::string>{"stored die", "told die", "told exec_start"});
}

}  // namespace keepwell
