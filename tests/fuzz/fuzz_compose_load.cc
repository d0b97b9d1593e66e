// Any text as a Compose file, through the whole loader. Besides not crashing:
//   every message has a text, one line of it, and a place; every project that is accepted has no
//   errors, survives JSON unchanged, and is what its own printed form loads as.
// The same text also serves as .env, so that both grammars are reached.
// Links: config
#include <cstdint>
#include <string>

#include "config/check.h"
#include "config/load.h"
#include "config/print.h"
#include "config/spec_json.h"
#include "config/utf8.h"

using namespace keepwell;

namespace {

Loaded load_text(const std::string& compose, const std::string& env) {
  LoadOptions options;
  options.files = {"/p/compose.yaml"};
  options.environment = {{"HOME", "/root"}, {"EMPTY", ""}};
  options.profiles = {"*"};
  options.net_checks = true;
  options.read_file = [&](const std::string& path, std::size_t limit) -> Result<std::string> {
    if (path == "/p/compose.yaml") return compose;
    if (path == "/p/.env" || path == "/p/env") return env.substr(0, limit);
    // What include and extends may name.
    if (path == "/p/other.yaml") return env.substr(0, limit);
    return fail(Errc::not_found, "cannot read " + path + ": No such file or directory");
  };
  options.look = [](const std::string& path) {
    PathFacts facts{PathKind::directory, path, 0};
    if (path.find("/dev/") != std::string::npos) facts.kind = PathKind::device;
    if (path.find("file") != std::string::npos) facts.kind = PathKind::file;
    if (path.find("none") != std::string::npos) facts.kind = PathKind::absent;
    return facts;
  };
  return load_project(options);
}

// What printing does not keep: where the file lay, and whether retries were written or a default.
ProjectSpec comparable(ProjectSpec project) {
  for (ServiceSpec& service : project.services) service.retries_given = false;
  return project;
}

bool all_text(const ProjectSpec& project) {
  for (const ServiceSpec& service : project.services) {
    for (const auto& [name, value] : service.environment) {
      if (find_bad_utf8(name) != std::string::npos || find_bad_utf8(value) != std::string::npos) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  std::size_t cut = text.find("\n===\n");
  std::string env = cut == std::string::npos ? text : text.substr(cut + 5);
  Loaded loaded = load_text(text.substr(0, cut), env);
  bool failed = false;
  for (const Diagnostic& diagnostic : loaded.diagnostics) {
    failed = failed || diagnostic.error;
    KW_CHECK(!diagnostic.text.empty());
    KW_CHECK(to_string(diagnostic).find('\n') == std::string::npos);
    // A file that cannot be read has a name and no lines; so has the list that is too long.
    bool whole = diagnostic.file.empty() || diagnostic.text.rfind("cannot read ", 0) == 0;
    KW_CHECK(diagnostic.line > 0 || whole);
  }
  KW_CHECK(failed == !loaded.project.has_value());
  if (!loaded.project) return 0;
  Result<ProjectSpec> back = project_from_json(project_to_json(*loaded.project));
  KW_CHECK(back && *back == *loaded.project);
  if (!all_text(*loaded.project)) return 0;
  Loaded again = load_text(print_project(*loaded.project), "");
  KW_CHECK(again.project.has_value());
  KW_CHECK(comparable(*again.project) == comparable(*loaded.project));
  return 0;
}
