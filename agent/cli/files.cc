#include "agent/cli/files.h"

#include <cstdio>

#include "runtime/launch.h"
#include "runtime/net_probe/body_regex.h"

namespace keepwell {

namespace {

std::optional<std::string> setting(const std::string& dir) {
  if (dir.empty()) return std::nullopt;
  return absolute_path(dir);
}

}  // namespace

Result<LoadOptions> load_options(const FileOptions& files, const std::string& run_dir,
                                 const std::string& data_dir) {
  LoadOptions options;
  options.files = files.files;
  if (options.files.empty()) {
    for (const char* name : {"keepwell.yaml", "compose.yaml"}) {
      if (options.files.empty() && is_readable_file(name)) options.files.emplace_back(name);
    }
  }
  if (options.files.empty()) {
    return fail(Errc::not_found,
                "cannot find keepwell.yaml or compose.yaml here; name a file with -f");
  }
  options.project_directory = files.project_directory;
  options.project_name = files.project_name;
  options.environment = process_environment();
  options.profiles = files.profiles;
  options.lenient = files.lenient;
  options.net_checks = true;  // the engine runs them on its loop
  options.regex_fault = body_regex_fault;
  options.run_dir = setting(run_dir);
  options.data_dir = setting(data_dir);
  return options;
}

std::optional<ProjectSpec> load_and_report(const LoadOptions& options, ImageFetch fetch,
                                           int& exit_code) {
  Loaded loaded = load_project(options);
  exit_code = resolve_images(loaded, fetch) ? 2 : 1;
  for (const Diagnostic& diagnostic : loaded.diagnostics) {
    std::fprintf(stderr, "%s\n", to_string(diagnostic).c_str());
  }
  return std::move(loaded.project);
}

void print_error(const Error& error) { std::fprintf(stderr, "keepwell: %s\n", error.text.c_str()); }

}  // namespace keepwell
