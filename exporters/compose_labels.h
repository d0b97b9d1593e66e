// The labels by which docker compose finds, groups and names its containers; they stand in list,
// inspect and events. `docker compose ls`, ps, logs and exec filter by them: ps and logs leave out
// what has no config-hash.
#pragma once

#include <map>
#include <string>

#include "config/spec.h"

namespace keepwell {

using Labels = std::map<std::string, std::string>;

// Sets the labels of container number REPLICA of SERVICE in PROJECT. An empty PROJECT_FILE or
// CONFIG_HASH is left out: events, which are filtered by project and service alone, have neither.
void set_compose_labels(Labels& labels, const std::string& project, const ServiceSpec& service,
                        int replica, const std::string& project_file = "",
                        const std::string& config_hash = "");

// A word of 16 hex digits that changes when anything of SERVICE does. Some tens of microseconds.
std::string config_hash(const ServiceSpec& service);

}  // namespace keepwell
