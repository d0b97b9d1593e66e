#include "agent/cli/files.h"

#include <cstdio>

#include "agent/cli/load_reporter.h"

namespace keepwell {

std::optional<ProjectSpec> load_and_report(const LoadOptions& options, ImageFetch fetch,
                                           int& exit_code) {
  Loaded loaded = load_project(options);
  const auto watch = [](const std::string& image) { return report_load("image " + image); };
  exit_code = resolve_images(loaded, fetch, watch) ? 2 : 1;
  for (const Diagnostic& diagnostic : loaded.diagnostics) {
    std::fprintf(stderr, "%s\n", to_string(diagnostic).c_str());
  }
  return std::move(loaded.project);
}

void print_error(const Error& error) { std::fprintf(stderr, "keepwell: %s\n", error.text.c_str()); }

}  // namespace keepwell
