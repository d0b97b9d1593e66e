// Tells on stderr how the load of an image goes: one line that changes on a terminal, else a line
// for each step.
#pragma once

#include <string>

#include "agent/image_resolve.h"

namespace keepwell {

// What load_image tells of WHAT, written to stderr. The line is ended when the answer goes.
OnLoadStep report_load(const std::string& what);

}  // namespace keepwell
