// Durations as Compose writes them: numbers with units, largest first by habit, such as 1m30s,
// 500ms or 1.5h. Units: ns, us (µs), ms, s, m, h, d, w. A bare number is refused, since nobody can
// tell whether 10 was meant as seconds; 0 needs no unit.
#pragma once

#include <string>
#include <string_view>

#include "config/result.h"
#include "config/time.h"

namespace keepwell {

// Fails with Errc::invalid and a text that says what would be right.
Result<Duration> parse_duration(std::string_view text);

// As Go prints it, which is what Docker shows: 1m30s, 500ms, 1.5s, 0s, 2h0m0s. parse_duration reads
// it back to the same value.
std::string format_duration(Duration duration);

}  // namespace keepwell
