// keepwell check: what run would say of the file, without running anything.
#include <cstdio>

#include "agent/cli/commands.h"
#include "agent/cli/files.h"
#include "config/print.h"

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
    std::printf("%s", print_project(*project).c_str());
    return 0;
  }
  std::size_t checks = 0;
  for (const ServiceSpec& service : project->services) checks += service.checks.size();
  std::printf("%s: fine: %zu services, %zu checks\n", project->file.c_str(),
              project->services.size(), checks);
  return 0;
}

}  // namespace keepwell
