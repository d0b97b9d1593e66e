// What inspect and list show of a container's volumes.
#pragma once

#include <string>
#include <vector>

#include "config/spec.h"
#include "exporters/runtime_facts.h"

namespace keepwell {

// Of the container NAME of SPEC, whose volumes lie under VOLUMES_DIR.
std::vector<MountFacts> mount_facts(const ServiceSpec& spec, const std::string& name,
                                    const std::string& volumes_dir);

}  // namespace keepwell
