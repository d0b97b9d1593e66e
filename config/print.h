// The effective values of a config as a Compose file (`keepwell check --print`): defaults filled
// in, variables replaced, anchors and env files resolved. Loading what is printed gives the same
// ProjectSpec again.
#pragma once

#include <string>

#include "config/spec.h"

namespace keepwell {

std::string print_project(const ProjectSpec& project);

}  // namespace keepwell
