// What a hook reads on its standard input and a webhook posts, when a check became unhealthy.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "exporters/container_status.h"

namespace keepwell {

struct ActionFacts {
  std::uint64_t number = 0;  // of the action; with the time it tells a delivery from a second one
  WallTime at{};
};

// One JSON object. The probe's output in it may be anything that the container wrote, made valid
// UTF-8.
std::string action_json(const ContainerStatus& container, const CheckStatus& check,
                        const ActionFacts& facts);

// KEEPWELL_SERVICE and the like: names and numbers only, nothing that a container wrote.
std::vector<std::pair<std::string, std::string>> action_environment(
    const ContainerStatus& container, const CheckStatus& check);

}  // namespace keepwell
