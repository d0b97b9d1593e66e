// GET /containers/json: which containers are listed, and in which order (newest created first).
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "config/result.h"
#include "exporters/container_status.h"
#include "exporters/filters.h"
#include "exporters/runtime_facts.h"

namespace keepwell {

struct ListQuery {
  bool all = false;
  int limit = 0;  // > 0: the newest so many, stopped ones too
  Filters filters;
  // For labels that do not come from the spec (the image's, the project file's), mounts and ports;
  // asked only where they are filtered by. Empty: none.
  std::function<RuntimeFacts(const ContainerStatus&)> facts;
};

// Errc::invalid in Docker's words for an unknown key or value, Errc::not_found where before or
// since name nobody.
Result<std::vector<const ContainerStatus*>> select_containers(
    std::span<const ContainerStatus* const> containers, const ListQuery& query);

}  // namespace keepwell
