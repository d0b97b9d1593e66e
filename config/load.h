// From Compose files to a ProjectSpec: the one door of this folder.
//
//   files -> compose_tree -> interpolate -> merge -> load_*.cc, one table of keys per level -> spec
//
// All mistakes are found in one run. Nothing is started, looked up on the network or written; the
// files read are the Compose files, .env beside the first of them, and what env_file names.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/diagnostic.h"
#include "config/image_merge.h"
#include "config/result.h"
#include "config/spec.h"

namespace keepwell {

// What the loader asks the file system about a path that a container will be given.
// `unknown`: it lies on another machine (remote_mounts.h) and was not looked at.
enum class PathKind { absent, file, directory, device, other, unknown };
struct PathFacts {
  PathKind kind = PathKind::absent;
  std::string real;         // without symbolic links; empty: not known
  std::uint64_t bytes = 0;  // of a file
};

struct LoadOptions {
  std::vector<std::string> files;  // in order; later ones override; "-" is standard input
  std::string project_directory;   // empty: the directory of the first file
  std::string project_name;        // empty: COMPOSE_PROJECT_NAME, `name`, the directory's name
  std::map<std::string, std::string> environment;  // of the process; goes before .env
  std::vector<std::string> profiles;               // besides those of COMPOSE_PROFILES
  bool lenient = false;                            // unsupported keys are warnings
  bool net_checks = false;  // whoever runs the project can run http, tcp and grpc checks
  // What is wrong with a pattern for a response's body (runtime's body_regex_fault); empty:
  // patterns are taken as they are.
  std::function<std::optional<std::string>(const std::string&)> regex_fault;
  std::optional<std::string> run_dir;  // from the command line; over the file's
  std::optional<std::string> data_dir;
  std::string default_run_dir, default_data_dir;  // where neither says; empty: ProjectSpec's

  // Reads a whole file of at most LIMIT bytes; only tests and fuzz targets replace it.
  std::function<Result<std::string>(const std::string& path, std::size_t limit)> read_file;
  // Says what there is at a path that a volume, device, secret or config names; replaced likewise.
  std::function<PathFacts(const std::string& path)> look;
};

struct Loaded {
  std::optional<ProjectSpec> project;  // empty exactly when a diagnostic is an error
  std::vector<Diagnostic> diagnostics;
  std::vector<ImageUse> images;  // of the project's services that run one, in their order
};

// Never fails otherwise than by diagnostics.
Loaded load_project(const LoadOptions& options);

// The whole of PATH. Fails for anything but a regular file (standard input for "-"), and for more
// than LIMIT bytes; never blocks on a FIFO.
Result<std::string> read_config_file(const std::string& path, std::size_t limit);

}  // namespace keepwell
