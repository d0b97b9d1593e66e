#include "exporters/filters.h"

#include "exporters/container_filter.h"
#include "exporters/name_pattern.h"
#include "fixtures.h"

using namespace keepwell;
using namespace std::chrono_literals;

namespace {

bool found(const std::string& pattern, const std::string& text) {
  const auto compiled = NamePattern::parse(pattern);
  INFO(pattern);
  REQUIRE(compiled);
  return compiled->found_in(text);
}

// web (running, healthy), db (running, no check), old (exited 3), new (created).
struct Four {
  std::vector<ContainerStatus> all;
  std::vector<const ContainerStatus*> pointers;

  Four() {
    all.resize(4, web());
    const char* names[] = {"web", "db", "old", "new"};
    for (std::size_t i = 0; i < 4; ++i) {
      auto spec = web_spec();
      spec->name = names[i];
      all[i].spec = spec;
      all[i].name = names[i];
      all[i].id = std::string(1, static_cast<char>('a' + i)) + std::string(63, '0');
      all[i].created = kStart + std::chrono::seconds(i);
    }
    all[1].checks.clear();
    all[1].health = Health::none;
    all[2].state = ServiceState::exited;
    all[2].exit_code = 3;
    all[2].health = Health::unhealthy;
    all[3].state = ServiceState::created;
    all[3].started.reset();
    all[3].health = Health::none;
    for (const ContainerStatus& c : all) pointers.push_back(&c);
  }

  // The names, in order; the error's text where there is one.
  std::string list(const std::string& filters, bool everything = false, int limit = 0) const {
    const auto parsed = parse_filters(filters);
    if (!parsed) return parsed.error().text;
    const auto chosen = select_containers(
        pointers, {.all = everything, .limit = limit, .filters = *parsed, .facts = {}});
    if (!chosen) return chosen.error().text;
    std::string text;
    for (const ContainerStatus* c : *chosen) text += c->name + " ";
    return text;
  }
};

}  // namespace

TEST_CASE("filters come in two shapes") {
  CHECK(parse_filters("")->empty());
  CHECK(parse_filters("{}")->empty());
  CHECK(parse_filters("null")->empty());
  CHECK(parse_filters(R"({"health":{"healthy":true,"none":false}})")->of("health") ==
        std::vector<std::string>{"healthy"});
  CHECK(parse_filters(R"({"health":["healthy","none"]})")->of("health").size() == 2);
  CHECK(parse_filters(R"({"a":[]})")->of("b").empty());
}

TEST_CASE("what is not filters is refused in Docker's words") {
  for (const std::string& text :
       {std::string("x"), std::string("[]"), std::string("1"), std::string(R"({"a":1})"),
        std::string(R"({"a":"b"})"), std::string(R"({"a":[1]})"), std::string(R"({"a":{"b":1}})"),
        std::string(R"({"a":[["b"]]})"), std::string(R"({"a":{"b":{"c":true}}})"),
        std::string("{\"a\":") + std::string(50000, '['), std::string("{\"\xff\":[]}"),
        "{\"a\":[\"" + std::string(70000, 'x') + "\"]}"}) {
    INFO(text.substr(0, 60));
    REQUIRE_FALSE(parse_filters(text));
    CHECK(parse_filters(text).error().text == "invalid filter");
    CHECK(parse_filters(text).error().code == Errc::invalid);
  }
}

TEST_CASE("which containers are listed") {
  const Four four;
  CHECK(four.list("") == "db web ");
  CHECK(four.list("", true) == "new old db web ");
  CHECK(four.list("", false, 3) == "new old db ");
  CHECK(four.list("", false, -1) == "db web ");
  CHECK(four.list(R"({"status":["exited"]})") == "old ");
  CHECK(four.list(R"({"status":["created","running"]})") == "new db web ");
  CHECK(four.list(R"({"exited":["3"]})") == "old ");
  CHECK(four.list(R"({"exited":["0"]})").empty());
  CHECK(four.list(R"({"id":["b"]})") == "db ");
  CHECK(four.list(R"({"id":["b","a0"]})") == "db web ");
  CHECK(four.list(R"({"before":["old"]})", true) == "db web ");
  CHECK(four.list(R"({"since":["b000"]})", true) == "new old ");
  CHECK(four.list(R"({"ancestor":["busybox:1"]})") == "db web ");
  CHECK(four.list(R"({"ancestor":["busybox"]})").empty());
  CHECK(four.list(R"({"label":["tier=front","weight"]})") == "db web ");
  CHECK(four.list(R"({"label":["tier=back"]})").empty());
  CHECK(four.list(R"({"label":{"com.docker.compose.service=db":true}})") == "db ");
}

TEST_CASE("volumes and ports are found by what the runtime knows") {
  const Four four;
  ListQuery query;
  query.facts = [](const ContainerStatus& c) {
    RuntimeFacts facts;
    facts.mounts.resize(1);
    facts.mounts[0].name = c.name + "-data";
    facts.mounts[0].destination = "/data";
    if (c.name != "db") return facts;
    facts.ports.resize(2);
    facts.ports[0].container_port = 80;
    facts.ports[0].host_port = 8080;
    facts.ports[1].container_port = 53;
    facts.ports[1].protocol = "udp";
    return facts;
  };
  const auto list = [&](const std::string& filters) {
    query.filters = *parse_filters(filters);
    const auto found = select_containers(four.pointers, query);
    if (!found) return found.error().text;
    std::string names;
    for (const ContainerStatus* c : *found) names += c->name + " ";
    return names;
  };
  CHECK(list(R"({"volume":["db-data"]})") == "db ");
  CHECK(list(R"({"volume":["/data"]})") == "db web ");
  CHECK(list(R"({"volume":["/other"]})").empty());
  CHECK(list(R"({"publish":["8080"]})") == "db ");
  CHECK(list(R"({"publish":["80"]})").empty());
  CHECK(list(R"({"expose":["70-90/tcp"]})") == "db ");
  CHECK(list(R"({"expose":["53"]})").empty());
  CHECK(list(R"({"expose":["53/udp"]})") == "db ");
  for (const char* bad : {"x", "0", "70000", "9-8", "80/x", "80-", "-80", "", "80/tcp/udp"})
    CHECK_THAT(list(R"({"expose":[")" + std::string(bad) + R"("]})"), StartsWith("invalid filter"));
}

TEST_CASE("labels from outside the service's own are found too") {
  const Four four;
  ListQuery query;
  query.filters = *parse_filters(R"({"label":["com.docker.compose.config-hash","maker=x"]})");
  CHECK(select_containers(four.pointers, query)->empty());
  query.facts = [](const ContainerStatus& c) {
    RuntimeFacts facts;
    facts.config_hash = "0123";
    if (c.name == "db") facts.image_labels["maker"] = "x";
    return facts;
  };
  const auto found = select_containers(four.pointers, query);
  REQUIRE(found);
  REQUIRE(found->size() == 1);
  CHECK(found->front()->name == "db");
}

TEST_CASE("a stopped container is not found by its last verdict") {
  const Four four;
  CHECK(four.list(R"({"health":["healthy"]})") == "web ");
  CHECK(four.list(R"({"health":["unhealthy"]})", true).empty());
  CHECK(four.list(R"({"health":["none"]})", true) == "new old db ");
}

TEST_CASE("names are patterns, found anywhere, with and without the slash") {
  const Four four;
  CHECK(four.list(R"({"name":["e"]})", true) == "new web ");
  CHECK(four.list(R"({"name":["^/web$"]})") == "web ");
  CHECK(four.list(R"({"name":["^d|^o"]})", true) == "old db ");
  CHECK_THAT(four.list(R"({"name":["("]})"), StartsWith("invalid filter 'name=('"));
}

TEST_CASE("bad words in filters") {
  const Four four;
  CHECK(four.list(R"({"bad":["x"]})") == "invalid filter 'bad'");
  CHECK(four.list(R"({"health":["x"]})") ==
        "invalid filter 'health=x': invalid value for health (x): must be one of none, starting, "
        "healthy, unhealthy");
  CHECK(four.list(R"({"status":["x"]})") ==
        "invalid filter 'status=x': invalid value for state (x): must be one of created, running, "
        "paused, restarting, removing, exited, dead");
  CHECK(four.list(R"({"exited":["x"]})") == "invalid filter 'exited=x'");
  CHECK(four.list(R"({"before":["nobody"]})") == "No such container: nobody");
}

TEST_CASE("containers of one load are ordered by the file") {
  Four four;
  for (ContainerStatus& c : four.all) c.created = kStart;
  CHECK(four.list("", true) == "new old db web ");
  CHECK(four.list(R"({"before":["old"]})", true) == "db web ");
}

TEST_CASE("patterns") {
  CHECK(found("", ""));
  CHECK(found("b", "abc"));
  CHECK_FALSE(found("^b", "abc"));
  CHECK(found("c$", "abc"));
  CHECK(found("a.c", "abc"));
  CHECK_FALSE(found("a.c", "a\nc"));
  CHECK(found("^(ab|cd)+$", "abcdab"));
  CHECK_FALSE(found("^(ab|cd)+$", "abc"));
  CHECK(found("^a{2,3}$", "aaa"));
  CHECK_FALSE(found("^a{2,3}$", "aaaa"));
  CHECK(found("^a{2}$", "aa"));
  CHECK(found("^a{2,}$", "aaaaa"));
  CHECK(found("a{,2}", "a{,2}"));  // a brace that counts nothing is a brace
  CHECK(found("^[a-c_]+$", "ab_c"));
  CHECK(found("^[^0-9]+$", "abc"));
  CHECK_FALSE(found("^[^0-9]+$", "ab1"));
  CHECK(found("^[]a]+$", "]a"));
  CHECK(found("^[a-]+$", "a-"));
  CHECK(found(R"(^\w+-\d+$)", "web-1"));
  CHECK(found(R"(\bweb\b)", "my web x"));
  CHECK_FALSE(found(R"(\bweb\b)", "myweb"));
  CHECK(found(R"(a\.b)", "a.b"));
  CHECK_FALSE(found(R"(a\.b)", "axb"));
  CHECK(found("(?i)WEB", "web"));
  CHECK(found("^a*?b??$", "aaa"));
  CHECK(found("(a*)*b", "aaab"));
  CHECK(found("x|", "y"));
  CHECK(found("(?:a|b)c", "bc"));
}

TEST_CASE("patterns that are refused") {
  for (const std::string& text :
       {std::string("("), std::string(")"), std::string("["), std::string("[b-a]"),
        std::string("*"), std::string("a|*"), std::string("(?P<x>a)"), std::string("\\"),
        std::string("\\q"), std::string("[\\"), std::string("a{1001}"),
        std::string("(a{100}){100}"), std::string(60, '(') + std::string(60, ')'),
        std::string(2000, 'a')}) {
    INFO(text.substr(0, 20));
    CHECK_FALSE(NamePattern::parse(text));
  }
}

TEST_CASE("no pattern makes matching slow") {
  // A backtracking matcher takes 2^40 steps here.
  CHECK_FALSE(found("^(a|a)*(a|a)*(a*)*b$", std::string(5000, 'a')));
  CHECK_FALSE(found("^(a?){30}a{30}b", std::string(4000, 'a')));
}
