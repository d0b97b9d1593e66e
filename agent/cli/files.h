// From the command line's words to loaded files; shared by run, check and reload.
#pragma once

#include <optional>
#include <string>

#include "agent/cli/commands.h"
#include "agent/cli/image_resolve.h"
#include "config/load.h"
#include "config/result.h"

namespace keepwell {

// Absolute files, or the default one of the working directory, and this process's environment.
// Errc::not_found where no file was named and there is none.
Result<LoadOptions> load_options(const FileOptions& files, const std::string& run_dir,
                                 const std::string& data_dir);

// Loads, completes the services with their images, and prints every diagnostic to stderr. None
// where one of them is an error; EXIT_CODE is then 2 for a mistake in the file and 1 for an image
// that could not be had.
std::optional<ProjectSpec> load_and_report(const LoadOptions& options, ImageFetch fetch,
                                           int& exit_code);

// "keepwell: TEXT" on stderr.
void print_error(const Error& error);

}  // namespace keepwell
