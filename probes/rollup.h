// Several checks of a container, one health: what Docker's clients can be shown.
//
//   any live, startup or ready check unhealthy   unhealthy
//   else any of them starting                    starting
//   else                                         healthy
//
// `info` checks are not looked at; a container with no other check has no health at all. A `ready`
// check shows here like the others; that it never causes a restart is decided by acts().
#pragma once

#include <span>

#include "config/spec.h"
#include "probes/probe_result.h"

namespace keepwell {

struct CheckVerdict {
  CheckRole role = CheckRole::live;
  Health status = Health::none;
};

Health roll_up(std::span<const CheckVerdict> checks);

// Whether a check of this role being unhealthy may do something to the container.
constexpr bool acts(CheckRole role) {
  return role == CheckRole::live || role == CheckRole::startup;
}

}  // namespace keepwell
