// YAML to nodes: places, anchors, merge keys, and the bounds that keep hostile files cheap.
#include "config/compose_tree.h"

#include <chrono>

#include "config/merge.h"
#include "tests/catch.h"

using namespace keepwell;

namespace {

struct Parsed {
  std::optional<Node> root;
  std::vector<Diagnostic> diagnostics;
};

Parsed parse(std::string_view text) {
  Report report;
  int file = report.add_file("f.yaml");
  Parsed parsed;
  parsed.root = parse_compose_tree(text, file, report);
  parsed.diagnostics = report.take();
  return parsed;
}

std::string only_mistake(std::string_view text) {
  Parsed parsed = parse(text);
  REQUIRE(parsed.diagnostics.size() == 1);
  return to_string(parsed.diagnostics[0]);
}

// "a=1 b=2": the scalars of a map, in order.
std::string flat(const Node& node) {
  std::string out;
  for (const Entry& entry : node.entries) {
    out += (out.empty() ? "" : " ") + entry.key + "=" + entry.value.text;
  }
  return out;
}

}  // namespace

TEST_CASE("nodes know their kind and place") {
  Parsed parsed = parse("a: 1\nb:\n  - x\n  - 'y'\nc: {d: }\n");
  REQUIRE(parsed.root);
  CHECK(parsed.diagnostics.empty());
  const Node& root = *parsed.root;
  CHECK(root.find("a")->plain);
  CHECK(root.find("a")->place == Place{0, 1, 4});
  CHECK(root.find("b")->items[1].text == "y");
  CHECK_FALSE(root.find("b")->items[1].plain);
  CHECK(root.find("b")->items[1].place == Place{0, 4, 5});
  CHECK(root.find("c")->find("d")->is_null());
  CHECK(root.entries[2].key_place == Place{0, 5, 1});
  CHECK(root.find("nothing") == nullptr);
}

TEST_CASE("merge keys: explicit keys win, then earlier maps") {
  Parsed parsed = parse(
      "x: &x {a: 1, b: 1}\n"
      "y: &y {<<: *x, b: 2, c: 2}\n"
      "z:\n  b: 3\n  <<: [*y, *x]\n"
      "w: {<<: {a: 4}, <<: {a: 5, d: 5}}\n");
  REQUIRE(parsed.root);
  CHECK(parsed.diagnostics.empty());
  CHECK(flat(*parsed.root->find("y")) == "b=2 c=2 a=1");
  CHECK(flat(*parsed.root->find("z")) == "b=3 c=2 a=1");
  CHECK(flat(*parsed.root->find("w")) == "a=4 d=5");
}

TEST_CASE("mistakes of form are told with their place") {
  CHECK(only_mistake("a: 1\na: 2\n") ==
        "f.yaml:2:1: error: key \"a\" is here a second time (first in line 1); keep one of them");
  CHECK_THAT(only_mistake("<<: 1\n"), ContainsSubstring("f.yaml:1:5: error: << takes a map"));
  CHECK_THAT(only_mistake("a: b: c\n"), StartsWith("f.yaml:1:5: error: this is not YAML"));
  CHECK_THAT(only_mistake("a: [1\n"), StartsWith("f.yaml:2:1: error: this is not YAML"));
  CHECK_THAT(only_mistake("a: *b\n"), StartsWith("f.yaml:1:4: error: this is not YAML"));
  CHECK_THAT(only_mistake("a: &a [*a]\n"), ContainsSubstring("endless"));
  CHECK_THAT(only_mistake("? [a]\n: 1\n"), ContainsSubstring("a key must be a single value"));
  CHECK_THAT(only_mistake("a: !rest 1\n"), ContainsSubstring("tag \"!rest\" is not supported"));
  CHECK_THAT(only_mistake("a: 1\n---\nb: 2\n"), StartsWith("f.yaml:3:1: error: a second document"));
  CHECK_THAT(only_mistake("a: \xC3\xA9\xFF\n"), StartsWith("f.yaml:1:5: error: here is a byte"));
  CHECK_THAT(only_mistake(std::string_view("a: \0", 4)), StartsWith("f.yaml:1:4: error:"));
}

TEST_CASE("an empty file is a null node") {
  for (const char* text : {"", "\n", "# comment\n", "---\n", "\xEF\xBB\xBF"}) {
    INFO(text);
    Parsed parsed = parse(text);
    REQUIRE(parsed.root);
    CHECK(parsed.root->is_null());
  }
}

TEST_CASE("hostile files are refused quickly") {
  std::vector<std::string> hostile;
  hostile.push_back(std::string(10 << 20, 'x'));
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 20; ++i) {
    std::string name = "a" + std::to_string(i);
    std::string below = "*a" + std::to_string(i - 1);
    bomb += name + ": &" + name + " [";
    for (int k = 0; k < 9; ++k) bomb += (k > 0 ? "," : "") + below;
    bomb += "]\n";
  }
  hostile.push_back(bomb);
  std::string merge_bomb = "a0: &a0 {k: " + std::string(1000, 'v') + "}\n";
  for (int i = 1; i < 30; ++i) {
    std::string below = "*a" + std::to_string(i - 1);
    merge_bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " {p: " + below +
                  ", q: " + below + "}\n";
  }
  hostile.push_back(merge_bomb);
  hostile.push_back("a: " + std::string(1000, '['));
  hostile.push_back(std::string(1 << 20, '['));
  hostile.push_back(std::string(1 << 20, '{'));
  std::string dashes;
  for (int i = 0; i < 100'000; ++i) dashes += "- ";
  hostile.push_back(dashes);
  std::string items;
  for (int i = 0; i < 1'000'000; ++i) items += "- \n";
  hostile.push_back(items);
  std::string questions;
  for (int i = 0; i < 100'000; ++i) questions += "? ";
  hostile.push_back(questions);
  for (std::size_t i = 0; i < hostile.size(); ++i) {
    INFO("case " << i);
    auto before = std::chrono::steady_clock::now();
    Parsed parsed = parse(hostile[i]);
    auto took = std::chrono::steady_clock::now() - before;
    CHECK_FALSE(parsed.root);
    CHECK_FALSE(parsed.diagnostics.empty());
    CHECK(took < std::chrono::seconds(10));  // an order of magnitude above the worst seen
  }
}

TEST_CASE("a later file is laid over an earlier one") {
  Report report;
  auto tree = [&](std::string_view text) {
    return *parse_compose_tree(text, report.add_file("f"), report);
  };
  Node base = tree(
      "services:\n"
      "  web:\n"
      "    command: [a, b]\n"
      "    environment: [A=1, B=2]\n"
      "    cap_add: [X]\n"
      "    depends_on: [db]\n"
      "    logging: {driver: json-file, options: {max-size: 1m}}\n"
      "    user: one\n");
  merge_compose_tree(base,
                     tree("services:\n"
                          "  web:\n"
                          "    command: [c]\n"
                          "    environment: {B: 3, C: }\n"
                          "    cap_add: [X, Y]\n"
                          "    depends_on: {cache: {condition: service_healthy}}\n"
                          "    logging: {driver: none}\n"
                          "    user:\n"
                          "  db: {}\n"),
                     report);
  CHECK(report.take().empty());
  const Node& web = *base.find("services")->find("web");
  CHECK(web.find("command")->items.size() == 1);
  CHECK(flat(*web.find("environment")) == "A=1 B=3 C=");
  CHECK(web.find("cap_add")->items.size() == 2);
  CHECK(web.find("depends_on")->entries.size() == 2);
  CHECK(web.find("logging")->find("options") == nullptr);
  CHECK(web.find("user")->text == "one");
  CHECK(base.find("services")->find("db") != nullptr);
}
