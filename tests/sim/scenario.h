// The Compose files of simulated worlds: small, and varied in every setting that decides something.
#pragma once

#include <memory>

#include "config/spec.h"
#include "tests/sim/random.h"

namespace keepwell {

ProjectSpec make_project(Random& random);

// One for a small world: what it does it does within seconds.
ProjectSpec make_small_project(Random& random);

// What somebody might change in it before a reload.
ProjectSpec change_project(const ProjectSpec& project, Random& random);

}  // namespace keepwell
