// keepwell check: what run would say of the file, without running anything.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "agent/cli/commands.h"
#include "agent/cli/files.h"
#include "config/spec_json.h"

namespace keepwell {

int check_command(const CheckOptions& options) {
  Result<LoadOptions> load = load_options(options.file, "", "");
  if (!load) {
    print_error(load.error());
    return 2;
  }
  std::optional<ProjectSpec> project = load_and_report(*load);
  if (!project) return 2;
  if (options.print) {
    nlohmann::ordered_json effective = nlohmann::ordered_json::parse(project_to_json(*project));
    std::printf("%s\n", effective.dump(2).c_str());
    return 0;
  }
  std::size_t checks = 0;
  for (const ServiceSpec& service : project->services) checks += service.checks.size();
  std::printf("%s: fine: %zu services, %zu checks\n", project->file.c_str(),
              project->services.size(), checks);
  return 0;
}

}  // namespace keepwell
