// Loading from memory: a map of paths to texts in place of a file system.
#pragma once

#include <map>
#include <string>

#include "config/load.h"

namespace keepwell {

struct LoadInput {
  std::map<std::string, std::string> files{};  // beside /p/compose.yaml
  std::map<std::string, std::string> environment{};
  std::vector<std::string> profiles{};
  std::vector<std::string> overrides{};
  bool lenient = false;
  bool net_checks = true;
  std::map<std::string, PathFacts> paths{};  // what there is on the host; others are absent
};

inline Loaded load_text(const std::string& compose, LoadInput input = {}) {
  input.files["/p/compose.yaml"] = compose;
  LoadOptions options;
  options.files = {"/p/compose.yaml"};
  options.files.insert(options.files.end(), input.overrides.begin(), input.overrides.end());
  options.environment = input.environment;
  options.profiles = input.profiles;
  options.lenient = input.lenient;
  options.net_checks = input.net_checks;
  options.read_file = [files = input.files](const std::string& path,
                                            std::size_t limit) -> Result<std::string> {
    auto found = files.find(path);
    if (found == files.end()) {
      return fail(Errc::not_found, "cannot read " + path + ": No such file or directory");
    }
    if (found->second.size() > limit) return fail(Errc::invalid, "cannot read " + path + ": large");
    return found->second;
  };
  options.look = [paths = input.paths](const std::string& path) {
    auto found = paths.find(path);
    return found == paths.end() ? PathFacts{} : found->second;
  };
  return load_project(options);
}

// All diagnostics, one a line, without the file's path.
inline std::string listing(const Loaded& loaded) {
  std::string out;
  for (const Diagnostic& diagnostic : loaded.diagnostics) {
    std::string line = to_string(diagnostic);
    const std::string path = "/p/compose.yaml:";
    if (line.rfind(path, 0) == 0) line.erase(0, path.size());
    out += line + "\n";
  }
  return out;
}

// The body of one service, indented by four, as a container.
inline std::string one_container(const std::string& body) {
  return "services:\n  web:\n    x-keepwell: { rootfs: /r }\n    command: x\n" + body;
}

// The body of one service, indented by four, as a whole file of process services.
inline std::string one_service(const std::string& body) {
  return "x-keepwell: { runtime: process }\nservices:\n  web:\n" + body;
}

}  // namespace keepwell
