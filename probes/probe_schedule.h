// When the next probe of a check is due. Docker's rule: the first one comes after one interval,
// each later one an interval after the end of the one before; while the container is starting and
// inside its start period, start_interval takes the place of interval. Unlike Docker before
// moby#52317, a start_interval does not reach beyond the end of the start period.
#pragma once

#include <string_view>

#include "config/spec.h"
#include "config/time.h"
#include "probes/probe_result.h"

namespace keepwell {

// The wait that begins now, AGE after the container's start, with the check at STATUS. Always > 0.
Duration next_wait(const CheckSpec& spec, Health status, Duration age);

// The wait before the first probe after a start. SPREAD (0 to 1) is the share of it by which PHASE
// (0 to 1) may shorten it, so that checks that were started together do not stay together. An
// initial_delay takes the place of the first interval.
Duration first_wait(const CheckSpec& spec, double spread, double phase);

// A number from 0 to 1 that depends on NAME alone: the same check has the same phase in every run.
double phase_of(std::string_view name);

}  // namespace keepwell
