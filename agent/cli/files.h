// Loading as the command line does it, with all that is wrong on stderr; shared by run, check and
// reload.
#pragma once

#include <optional>
#include <string>

#include "agent/image_resolve.h"
#include "agent/source_file.h"
#include "config/load.h"
#include "config/result.h"

namespace keepwell {

// Loads, completes the services with their images, and prints every diagnostic to stderr. None
// where one of them is an error; EXIT_CODE is then 2 for a mistake in the file and 1 for an image
// that could not be had.
std::optional<ProjectSpec> load_and_report(const LoadOptions& options, ImageFetch fetch,
                                           int& exit_code);

// "keepwell: TEXT" on stderr.
void print_error(const Error& error);

}  // namespace keepwell
