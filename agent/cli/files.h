// From the command line's words to loaded files; shared by run, check and reload.
#pragma once

#include <optional>
#include <string>

#include "agent/cli/commands.h"
#include "config/load.h"
#include "config/result.h"

namespace keepwell {

// Absolute files, or the default one of the working directory, and this process's environment.
// Errc::not_found where no file was named and there is none.
Result<LoadOptions> load_options(const FileOptions& files, const std::string& run_dir,
                                 const std::string& data_dir);

// Loads, and prints every diagnostic to stderr. None where one of them is an error.
std::optional<ProjectSpec> load_and_report(const LoadOptions& options);

// "keepwell: TEXT" on stderr.
void print_error(const Error& error);

}  // namespace keepwell
