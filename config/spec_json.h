// ProjectSpec as JSON and back: how the accepted config is kept over a restart of the agent, which
// may be a newer or an older one. Lossless for one version; between versions, fields that the
// reader does not know are ignored and fields that the writer did not know get their defaults.
// Text that is not UTF-8 (an environment may hold any bytes) survives.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/result.h"
#include "config/spec.h"

namespace keepwell {

std::string project_to_json(const ProjectSpec& project);

// Fails with Errc::invalid for what is not JSON or has a value of the wrong kind; never throws.
Result<ProjectSpec> project_from_json(std::string_view text);

// Every field of SERVICE by its name, the value as JSON text: for comparing and listing.
std::vector<std::pair<std::string, std::string>> service_fields(const ServiceSpec& service);

}  // namespace keepwell
