// Flapping: a check whose results change all the time says nothing that a restart would mend. Two
// thresholds, so that the answer itself does not flap. Pure.
#pragma once

#include <string>

#include "config/spec.h"

namespace keepwell {

// Adds one result to RECENT (. passed, x failed), of which the last `window` are kept.
void note_recent(std::string& recent, bool passed, const FlapSpec& spec);

// The share of changes among the results, the newer ones weighing more (0.75 to 1.25, as Nagios
// does); 0 to 1.
double flap_ratio(const std::string& recent);

// Whether it flaps, having flapped (WAS) before. It does not begin to before half of the window has
// been seen.
bool flaps(bool was, const std::string& recent, const FlapSpec& spec);

}  // namespace keepwell
