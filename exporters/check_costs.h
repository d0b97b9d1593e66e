// What each check of each container costs, for `keepwell top` (GET /keepwell/checks/costs): the
// same numbers as the keepwell_probe_* metrics, for people.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "exporters/container_status.h"

namespace keepwell {

// A JSON array with one object per check, containers in the given order. Units are in the names.
std::string check_costs_json(std::span<const ContainerStatus* const> containers);

// The table that `keepwell top` prints, header first, from that JSON. Errc::invalid if it is none.
Result<std::vector<std::vector<std::string>>> check_costs_table(std::string_view json);

}  // namespace keepwell
