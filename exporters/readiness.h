// What an orchestrator's own probes are told at /healthz and /readyz, by the roll-up of the checks.
// Pure.
//
//   live    no service has failed for good: what keepwell could do is done, and the orchestrator is
//           to begin anew
//   ready   besides, every service that has checks runs and is healthy, or has done its work: ended
//           with 0, and is not to be started again
#pragma once

#include <span>
#include <string>

#include "exporters/container_status.h"

namespace keepwell {

// One line for each container that stands in the way: "shop-web-1: unhealthy". Empty: none does.
std::string why_not_live(std::span<const ContainerStatus* const> containers);
std::string why_not_ready(std::span<const ContainerStatus* const> containers);

}  // namespace keepwell
