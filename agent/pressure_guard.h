// Whether a timeout is the host's fault rather than the service's. Pure.
#pragma once

#include <string>
#include <vector>

#include "config/spec.h"
#include "runtime/engine.h"

namespace keepwell {

// The level of SPEC for a resource, 0 to 1 (share of time); above 1 for one that it does not name.
double pressure_level(const PressureGuardSpec& spec, const std::string& resource);

// That one of READINGS that is above its level by the most; null: none is, or the guard is off.
const PressureReading* over_level(const PressureGuardSpec& spec,
                                  const std::vector<PressureReading>& readings);

// "cpu=0.83,memory=0.00,cgroup.cpu=0.12", and back; what cannot be read is left out.
std::string pressure_text(const std::vector<PressureReading>& readings);
std::vector<PressureReading> parse_pressure(const std::string& text);

}  // namespace keepwell
