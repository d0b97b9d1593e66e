// config/schema/x-keepwell.json, which editors use, and the loader know the same keys.
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;
using Json = nlohmann::ordered_json;

namespace {

Json schema() {
  std::ifstream in("config/schema/x-keepwell.json");
  REQUIRE(in);
  return Json::parse(in);
}

using Path = std::vector<std::string>;
using Visit = std::function<void(const Path& path, const Json& node)>;

// Calls VISIT for every key that the schema allows, at most one level into a recursive reference.
void walk(const Json& root, const Json& node, const Path& path, const Visit& visit) {
  if (node.contains("$ref")) {
    auto name = node["$ref"].get<std::string>();
    walk(root, root.at(Json::json_pointer(name.substr(1))), path, visit);
  }
  for (const char* all : {"oneOf", "allOf"}) {
    if (!node.contains(all)) continue;
    for (const Json& part : node[all]) walk(root, part, path, visit);
  }
  if (node.contains("properties")) {
    for (const auto& [key, value] : node["properties"].items()) {
      Path below = path;
      below.push_back(key);
      visit(below, value);
      walk(root, value, below, visit);
    }
  }
  if (node.contains("additionalProperties") && node["additionalProperties"].is_object()) {
    Path below = path;
    below.emplace_back("name");
    walk(root, node["additionalProperties"], below, visit);
  }
}

// {"a": {"b": VALUE}} for the path a, b. JSON is YAML.
std::string document(const Path& path, const std::string& value) {
  std::string out = value;
  for (auto key = path.rbegin(); key != path.rend(); ++key) {
    std::string wrapped = "{\"";
    wrapped += *key;
    wrapped += "\": ";
    wrapped += out;
    wrapped += "}";
    out = std::move(wrapped);
  }
  return out;
}

}  // namespace

TEST_CASE("the loader knows every key of the schema") {
  Json root = schema();
  int keys = 0;
  walk(root, root, {}, [&](const Path& path, const Json&) {
    ++keys;
    std::string said = listing(load_text(document(path, "null")));
    INFO(document(path, "null"));
    CHECK(said.find("unknown key") == std::string::npos);
    CHECK(said.find("is not supported") == std::string::npos);
  });
  CHECK(keys > 100);
}

TEST_CASE("the loader takes the defaults that the schema names") {
  Json root = schema();
  int defaults = 0;
  walk(root, root, {}, [&](const Path& path, const Json& node) {
    if (!node.contains("default")) return;
    ++defaults;
    std::string file = document(path, node["default"].dump());
    std::string said = listing(load_text(file));
    INFO(file);
    // Whatever else such a bare file lacks, the value itself is not among the mistakes.
    for (const char* wrong :
         {"is not known", "is not a", "out of range", "must be", "is none", "is no ", "neither"}) {
      INFO(said);
      CHECK(said.find(path.back() + " \"" + node["default"].dump()) == std::string::npos);
      CHECK(said.find(std::string(wrong)) == std::string::npos);
    }
  });
  CHECK(defaults > 40);
}
