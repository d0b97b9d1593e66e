// Every form in which the Compose specification shows a key, and every type that its schema gives
// one, is understood, with the value that it means, or refused with our message.
//
// tests/golden/compose_spec/*.txt hold the examples, each with its verdict:
//   == TITLE               begins one; then the keys of a service, or a whole file
//   @@ PATH                another file that it names; @+ PATH: one given by a further -f
//   @$ NAME=VALUE          a variable of the environment; @% NAME: a profile that is active
//   -> POINTER JSON        a value in the spec, as spec_json.h writes it; `absent`: there is none.
//                          The pointer starts at the first service, or with / at the project
//   !! TEXT                a part of a message; each message must be named, and each one named said
// forms.txt has each key of compose-spec.json (170098b) with the types that it may have, but those
// of networks; what is below a key that is refused whole is left out. A form without an example is
// a failure.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "config/compose_tree.h"
#include "config/spec_json.h"
#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;
using Json = nlohmann::json;

namespace {

const std::string kFolder = "tests/golden/compose_spec/";

struct Example {
  std::string title, text;
  LoadInput input;
  std::vector<std::pair<std::string, std::string>> values;  // pointer, JSON
  std::vector<std::string> messages;
};

bool is_whole_file(const std::string& text) {
  for (const char* key : {"services:", "include:", "name:", "version:", "x-"}) {
    if (text.rfind(key, 0) == 0) return true;
  }
  return false;
}

// The keys of a service as a file; errors are at line 3 + n of them, five columns further.
std::string as_file(const std::string& text) {
  if (is_whole_file(text)) return text;
  bool own_image = text.rfind("image:", 0) == 0;
  std::string file = "services:\n  web:\n";
  if (!own_image) file += "    image: app\n";
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) file += "    " + line + "\n";
  return file;
}

std::vector<Example> read_examples(const std::string& name) {
  std::ifstream in(kFolder + name);
  REQUIRE(in);
  std::vector<Example> all;
  std::string* into = nullptr;
  for (std::string line; std::getline(in, line);) {
    std::string mark = line.substr(0, 3);
    std::string rest = line.size() > 3 ? line.substr(3) : "";
    if (mark == "== ") {
      all.push_back({});
      all.back().title = name + ": " + rest;
      into = &all.back().text;
    } else if (all.empty()) {
      continue;  // what the file says of itself
    } else if (mark == "@@ " || mark == "@+ ") {
      if (mark == "@+ ") all.back().input.overrides.push_back("/p/" + rest);
      into = &all.back().input.files["/p/" + rest];
    } else if (mark == "@$ ") {
      std::size_t equals = rest.find('=');
      all.back().input.environment[rest.substr(0, equals)] = rest.substr(equals + 1);
    } else if (mark == "@% ") {
      all.back().input.profiles.push_back(rest);
    } else if (mark == "-> ") {
      std::size_t space = rest.find(' ');
      all.back().values.emplace_back(rest.substr(0, space), rest.substr(space + 1));
    } else if (mark == "!! ") {
      all.back().messages.push_back(rest);
    } else {
      *into += line + "\n";
    }
  }
  for (Example& example : all) {
    while (example.text.size() > 1 && example.text.substr(example.text.size() - 2) == "\n\n") {
      example.text.pop_back();
    }
    example.text = as_file(example.text);
  }
  return all;
}

const std::vector<Example>& examples() {
  static const std::vector<Example> all = [] {
    std::vector<Example> read;
    for (const char* name : {"services.txt", "storage.txt", "deploy.txt", "files.txt"}) {
      for (Example& example : read_examples(name)) read.push_back(std::move(example));
    }
    return read;
  }();
  return all;
}

// What the examples name on the host.
const std::map<std::string, PathFacts> kHost = {
    {"/dev/ttyUSB0", {PathKind::device, "/dev/ttyUSB0", 0}},
    {"/dev/sda", {PathKind::device, "/dev/sda", 0}},
    {"/dev/fuse", {PathKind::device, "/dev/fuse", 0}},
    {"/var/run/postgres/postgres.sock", {PathKind::other, "/run/postgres/postgres.sock", 0}},
    {"/p/here", {PathKind::directory, "/p/here", 0}},
    {"/p/my_config.txt", {PathKind::file, "/p/my_config.txt", 10}},
    {"/p/server.cert", {PathKind::file, "/p/server.cert", 10}},
    {"/p/a.txt", {PathKind::file, "/p/a.txt", 10}},
};

void check_values(const Example& example, const ProjectSpec& project) {
  Json json = Json::parse(project_to_json(project));
  for (const auto& [pointer, wanted] : example.values) {
    std::string whole = pointer.front() == '/' ? pointer : "/services/0/" + pointer;
    Json::json_pointer place(whole);
    std::string found = json.contains(place) ? json.at(place).dump() : "absent";
    INFO(whole);
    CHECK(found == (wanted == "absent" ? wanted : Json::parse(wanted).dump()));
  }
}

void check_messages(const Example& example, const Loaded& loaded) {
  std::vector<std::string> said;
  std::istringstream lines(listing(loaded));
  for (std::string line; std::getline(lines, line);) said.push_back(line);
  for (const std::string& line : said) {
    INFO("nobody expected: " << line);
    CHECK(
        std::any_of(example.messages.begin(), example.messages.end(),
                    [&](const std::string& text) { return line.find(text) != std::string::npos; }));
  }
  for (const std::string& text : example.messages) {
    INFO("not said: " << text << "\nbut:\n" << listing(loaded));
    CHECK(std::any_of(said.begin(), said.end(), [&](const std::string& line) {
      return line.find(text) != std::string::npos;
    }));
  }
  for (const Diagnostic& diagnostic : loaded.diagnostics) CHECK(diagnostic.line > 0);
}

// ---- which forms the examples show

using Forms = std::map<std::string, std::set<std::string>>;

Forms wanted_forms() {
  std::ifstream in(kFolder + "forms.txt");
  REQUIRE(in);
  Forms forms;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string path;
    words >> path;
    for (std::string form; words >> form;) forms[path].insert(form);
  }
  return forms;
}

std::string form_of(const Node& node) {
  if (node.is_null()) return "null";
  if (node.is_sequence()) return "list";
  if (node.is_mapping()) return "map";
  if (!node.plain) return "string";
  if (node.text == "true" || node.text == "false") return "boolean";
  char* end = nullptr;
  std::strtod(node.text.c_str(), &end);
  bool number = end != node.text.c_str() && *end == '\0';
  return number ? "number" : "string";
}

// Adds the forms of NODE and of what is below it. WANTED says where a map's keys are names.
void collect(const std::string& path, const Node& node, const Forms& wanted, Forms& seen) {
  seen[path].insert(form_of(node));
  for (const Node& item : node.items) collect(path + "[]", item, wanted, seen);
  for (const Entry& entry : node.entries) {
    std::string below = path.empty() ? entry.key : path + "." + entry.key;
    if (wanted.contains(path + ".*") && !wanted.contains(below)) below = path + ".*";
    collect(below, entry.value, wanted, seen);
  }
}

Forms shown_forms(const Forms& wanted) {
  Forms seen;
  for (const Example& example : examples()) {
    std::vector<std::string> texts{example.text};
    for (const std::string& path : example.input.overrides) {
      texts.push_back(example.input.files.at(path));
    }
    for (const std::string& text : texts) {
      Report report;
      std::optional<Node> tree = parse_compose_tree(text, report.add_file("x"), report);
      INFO(text);
      REQUIRE(tree);
      for (const Entry& entry : tree->entries) {
        if (entry.key != "services") {
          collect(entry.key, entry.value, wanted, seen);
          continue;
        }
        for (const Entry& service : entry.value.entries) {
          collect("service", service.value, wanted, seen);
        }
      }
    }
  }
  return seen;
}

}  // namespace

TEST_CASE("the examples of the Compose specification are understood, or refused by name") {
  CHECK(examples().size() > 150);
  for (const Example& example : examples()) {
    INFO(example.title << "\n" << example.text);
    CHECK(example.values.size() + example.messages.size() > 0);
    LoadInput input = example.input;
    input.paths = kHost;
    Loaded loaded = load_text(example.text, input);
    check_messages(example, loaded);
    if (example.values.empty()) continue;
    if (!loaded.project) {
      FAIL_CHECK("refused:\n" << listing(loaded));
      continue;
    }
    check_values(example, *loaded.project);
  }
}

TEST_CASE("the examples show every form that the Compose schema allows") {
  Forms wanted = wanted_forms();
  CHECK(wanted.size() > 200);
  Forms shown = shown_forms(wanted);
  for (const auto& [path, forms] : wanted) {
    for (const std::string& form : forms) {
      INFO(path << " as a " << form << " has no example");
      CHECK(shown[path].contains(form));
    }
  }
}
