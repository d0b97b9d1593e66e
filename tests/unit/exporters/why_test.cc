// The chain of an incident, from the records of the journal.
#include "exporters/why.h"

#include "exporters/journal.h"
#include "tests/catch.h"

using namespace keepwell;
using std::chrono::seconds;

namespace {

Event step(EventKind kind, std::string action, int at,
           std::vector<std::pair<std::string, std::string>> attributes = {},
           std::string incident = "aaaabbbbcccc") {
  Event event;
  event.kind = kind;
  event.action = std::move(action);
  event.at = WallTime(seconds(1'767'225'600 + at));
  event.name = "p-web-1";
  event.id = std::string(64, 'a');
  auto spec = std::make_shared<ServiceSpec>();
  spec->name = "web";
  event.spec = spec;
  event.incident = std::move(incident);
  event.attributes = std::move(attributes);
  return event;
}

std::vector<Event> chain() {
  return {
      step(EventKind::result, "probe", 1,
           {{"check", "healthcheck"},
            {"outcome", "timeout"},
            {"exit", "-1"},
            {"took", "3000000000"},
            {"streak", "1"},
            {"retries", "2"},
            {"reason", "timeout"}}),
      step(EventKind::result, "probe", 2,
           {{"check", "healthcheck"},
            {"outcome", "fail"},
            {"exit", "7"},
            {"took", "12000000"},
            {"streak", "2"},
            {"retries", "2"},
            {"reason", "exit"},
            {"output", "no\x1b[31m\nmore"}}),
      step(EventKind::decision, "unhealthy", 2,
           {{"check", "healthcheck"}, {"streak", "2"}, {"retries", "2"}}),
      step(EventKind::decision, "policy", 2,
           {{"asked", "policy"}, {"restart", "always"}, {"restarts", "0"}, {"answer", "restart"}}),
      step(EventKind::decision, "restart", 2,
           {{"reason", "unhealthy"}, {"detail", "healthcheck failed 2 times: no"}}),
      step(EventKind::event, "kill", 2, {{"signal", "15"}}),
      step(EventKind::event, "die", 3, {{"exitCode", "143"}, {"execDuration", "60"}}),
      step(EventKind::decision, "backoff", 3, {{"wait", "100ms"}}),
      step(EventKind::event, "start", 4),
      step(EventKind::event, "restart", 4, {{"reason", "unhealthy"}}),
      step(EventKind::decision, "healthy", 6, {{"after", "5s"}}),
  };
}

}  // namespace

TEST_CASE("why: the whole chain in words") {
  const auto incidents = why_incidents(chain());
  REQUIRE(incidents.size() == 1);
  CHECK(incidents[0].missing.empty());
  CHECK(incidents[0].restarted);
  CHECK(why_text(incidents[0], 0) ==
        R"(p-web-1 restarted: unhealthy   incident aaaabbbbcccc   2026-01-01
  00:00:01.000  healthcheck timed out after 3s, 1 of 2
  00:00:02.000  healthcheck failed with 7 in 12ms, 2 of 2: no\x1b[31m
  00:00:02.000  unhealthy: healthcheck failed 2 in a row (retries 2)
  00:00:02.000  restart policy always asked (policy, 0 restarts so far): restart
  00:00:02.000  decided: restart, unhealthy: healthcheck failed 2 times: no
  00:00:02.000  sent SIGTERM
  00:00:03.000  ended with 143 after 60 s
  00:00:03.000  waits 100ms before the start
  00:00:04.000  started
  00:00:04.000  restarted
  00:00:06.000  healthy again, 5s after it began
)");
}

TEST_CASE("why: every step that is missing is told") {
  const std::vector<Event> whole = chain();
  for (std::size_t gap = 0; gap < whole.size(); ++gap) {
    std::vector<Event> records = whole;
    records.erase(records.begin() + static_cast<std::ptrdiff_t>(gap));
    const auto incidents = why_incidents(records);
    REQUIRE(incidents.size() == 1);
    INFO(whole[gap].action);
    const bool needed = whole[gap].action == "unhealthy" || whole[gap].action == "policy" ||
                        whole[gap].action == "kill" || whole[gap].action == "die" ||
                        whole[gap].action == "backoff";
    if (needed) CHECK(incidents[0].missing == std::vector<std::string>{whole[gap].action});
    if (whole[gap].action == "start") CHECK_FALSE(incidents[0].restarted);
  }
}

TEST_CASE("why: incidents stay apart, and survive the journal") {
  std::string text;
  for (const Event& event : chain()) {
    text += journal_line(event);
    Event other = event;
    other.incident = "ddddeeeeffff";
    other.name = "p-db-1";
    text += journal_line(other);
    Event outside = event;
    outside.incident.clear();
    text += journal_line(outside);
  }
  const JournalScan scan = scan_journal(text);
  CHECK(scan.torn == 0);
  const auto incidents = why_incidents(scan.events);
  REQUIRE(incidents.size() == 2);
  CHECK(incidents[0].steps.size() == chain().size());
  CHECK(incidents[1].name == "p-db-1");
  CHECK(why_json(incidents[1]).find("\"complete\":true") != std::string::npos);
}

TEST_CASE("journal: results and decisions come back as what they are") {
  for (const EventKind kind : {EventKind::result, EventKind::decision, EventKind::fact}) {
    const Event event = step(kind, "probe", 1, {{"check", "x"}});
    const Event back = parse_journal_line(journal_line(event)).value();
    CHECK(back.kind == kind);
    CHECK(back.incident == event.incident);
    CHECK(back.attributes == event.attributes);
    CHECK(journal_line_time(journal_line(event)) == event.at);
  }
  std::string strange = journal_line(step(EventKind::fact, "x", 1));
  strange.replace(strange.find("\"fact\""), 6, "\"dish\"");
  CHECK_FALSE(parse_journal_line(strange));
}
