#include "exporters/event_json.h"

#include <nlohmann/json.hpp>

#include "exporters/journal.h"
#include "fixtures.h"

using namespace keepwell;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

Event died() {
  Event event;
  event.sequence = 17;
  event.at = kStart + 5ns;
  event.action = "die";
  event.id = web().id;
  event.name = "shop-web-1";
  event.project = "shop";
  event.spec = web_spec();
  event.attributes = {{"exitCode", "137"}, {"execDuration", "12"}};
  return event;
}

bool passes(const std::string& filters, const Event& event) {
  return matches(parse_filters(filters).value(), event);
}

void check_same(const Event& a, const Event& b) {
  CHECK(a.sequence == b.sequence);
  CHECK(a.at == b.at);
  CHECK(a.action == b.action);
  CHECK(a.id == b.id);
  CHECK(a.name == b.name);
  CHECK(a.project == b.project);
  CHECK(a.replica == b.replica);
  CHECK(a.attributes == b.attributes);
  CHECK(a.probe == b.probe);
  CHECK(event_json(a) == event_json(b));
}

}  // namespace

TEST_CASE("an event as JSON") {
  const std::string text = event_json(died());
  CHECK(text.find('\n') == std::string::npos);
  check_golden("event_die.json", text + "\n");
  const auto object = json::parse(text);
  CHECK(object["time"] == 1795550400);
  CHECK(object["timeNano"] == 1795550400000000005);
  CHECK(object["Actor"]["Attributes"]["exitCode"] == "137");
}

TEST_CASE("a label cannot overwrite what the event itself says") {
  Event event = died();
  auto spec = web_spec();
  spec->labels["exitCode"] = "0";
  spec->labels["name"] = "other";
  event.spec = spec;
  CHECK(event_attributes(event).at("exitCode") == "137");
  CHECK(event_attributes(event).at("name") == "shop-web-1");
}

TEST_CASE("an event as docker events prints it") {
  Event event = died();
  event.spec = std::make_shared<ServiceSpec>();
  event.project.clear();
  const std::string object = event_json(event);
  CHECK(event_text_of_json(object).value() ==
        "2026-11-24T20:00:00.000000005Z container die " + event.id +
            " (execDuration=12, exitCode=137, image=, name=shop-web-1)");
  CHECK_THAT(event_text_of_json(object, 3600).value(),
             StartsWith("2026-11-24T21:00:00.000000005+01:00 "));
}

TEST_CASE("a label cannot move the reader's cursor") {
  Event event = died();
  event.attributes = {{"x", "\x1b[2J\n\xc2\x9b"}};
  CHECK_THAT(event_text_of_json(event_json(event)).value(),
             ContainsSubstring("x=\\x1b[2J\\n\\x9b"));
  for (const char* text : {"", "{", "[]", "{\"timeNano\":\"x\"}", "{\"Actor\":7}"}) {
    CHECK_FALSE(event_text_of_json(text));
  }
  CHECK(event_text_of_json(R"({"timeNano":1,"Actor":{"Attributes":[1]}})"));
}

TEST_CASE("event filters") {
  Event event = died();
  CHECK(passes("", event));
  CHECK(passes(R"({"type":["container"]})", event));
  CHECK_FALSE(passes(R"({"type":["image"]})", event));
  CHECK(passes(R"({"event":["start","die"]})", event));
  CHECK_FALSE(passes(R"({"event":["di"]})", event));
  CHECK(passes(R"({"container":["shop"]})", event));
  CHECK(passes(R"({"container":["/shop-web-1"]})", event));
  CHECK(passes(R"({"container":["0123456789ab"]})", event));
  CHECK_FALSE(passes(R"({"container":["web"]})", event));
  CHECK(passes(R"({"image":["busybox"]})", event));
  CHECK(passes(R"({"image":["busybox:1"]})", event));
  CHECK_FALSE(passes(R"({"image":["busybox:2"]})", event));
  CHECK(passes(R"({"label":["tier=front","com.docker.compose.project=shop"]})", event));
  CHECK_FALSE(passes(R"({"label":["tier=front","tier=back"]})", event));
  CHECK(passes(R"({"unknown":["x"]})", event));
  event.spec = nullptr;
  CHECK(passes(R"({"event":["die"]})", event));
}

TEST_CASE("health_status and exec_create are found by their first half") {
  Event event = died();
  event.action = "health_status: unhealthy";
  CHECK(passes(R"({"event":["health_status"]})", event));
  CHECK(passes(R"({"event":["health_status: unhealthy"]})", event));
  CHECK_FALSE(passes(R"({"event":["health_status: healthy"]})", event));
  CHECK_FALSE(passes(R"({"event":["health"]})", event));
  CHECK(passes(R"({"event":["health","exec_start"]})", event));
}

TEST_CASE("probes are told of only where asked for") {
  Event event = died();
  event.probe = true;
  CHECK_FALSE(passes("", event));
  CHECK(passes(R"({"execType":["healthcheck"]})", event));
  event.probe = false;
  CHECK_FALSE(passes(R"({"execType":["healthcheck"]})", event));
}

TEST_CASE("journal: every event comes back") {
  Event event = died();
  event.replica = 3;
  check_same(parse_journal_line(journal_line(event)).value(), event);
  event.attributes = {{"reason", "quote \" { {\"v\":1,\"seq\": newline \n"}};
  event.probe = true;
  check_same(parse_journal_line(journal_line(event)).value(), event);
  const std::string line = journal_line(event);
  CHECK(line.find('\n') == line.size() - 1);
}

TEST_CASE("journal: torn at any byte, the next record is still read") {
  Event first = died();
  Event second = died();
  second.sequence = 18;
  second.attributes = {{"v", "1"}, {"x", "{\"v\":1"}};
  const std::string a = journal_line(first);
  const std::string b = journal_line(second);
  for (std::size_t cut = 0; cut < a.size(); ++cut) {
    const JournalScan scan = scan_journal(a.substr(0, cut) + b);
    const bool whole = cut == a.size() - 1;  // only the newline is missing
    INFO("cut at " << cut);
    REQUIRE(scan.events.size() == 1);
    CHECK(scan.events.back().sequence == 18);
    CHECK(scan.torn == (cut == 0 ? 0u : 1u));
    CHECK((whole || scan.newer == 0));
    // and from the middle on, as when a reader begins anywhere
    CHECK(scan_journal(a.substr(cut) + b).events.back().sequence == 18);
    // a tail that was cut off
    CHECK(scan_journal(b + a.substr(0, cut)).events.front().sequence == 18);
  }
  CHECK(scan_journal(a + b).events.size() == 2);
  CHECK(scan_journal(a + b).torn == 0);
}

TEST_CASE("journal: foreign and newer records are counted") {
  const std::string good = journal_line(died());
  const JournalScan scan = scan_journal("hello\n" + good + "{\"v\":2,\"seq\":1}\n{\"v\":1}\n\n" +
                                        std::string(100, '\0') + "\n" + good);
  CHECK(scan.events.size() == 2);
  CHECK(scan.newer == 1);
  CHECK(scan.torn == 3);
  CHECK(parse_journal_line("{\"v\":2}").error().code == Errc::unsupported);
}

TEST_CASE("journal: a record has a largest size") {
  Event event = died();
  auto spec = web_spec();
  for (int i = 0; i < 2000; ++i) spec->labels["k" + std::to_string(i)] = std::string(500, 'v');
  event.spec = spec;
  event.action = std::string(200000, 'a');
  const std::string line = journal_line(event);
  CHECK(line.size() <= kJournalLineMax);
  const auto back = parse_journal_line(line);
  REQUIRE(back);
  CHECK(back->sequence == 17);
  CHECK_THAT(back->action, ContainsSubstring("..."));
}
