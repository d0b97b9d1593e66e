// Signals by name and number, as stop_signal and `keepwell kill -s` take them.
#pragma once

#include <string>
#include <string_view>

#include "config/result.h"

namespace keepwell {

// "SIGTERM", "term", "15", "SIGRTMIN+3", "RTMAX-1". Fails with Errc::invalid and the nearest name.
Result<int> parse_signal(std::string_view text);

// "SIGTERM" for 15; "SIGRTMIN+3" for 37; the number as text for what has no name.
std::string signal_name(int number);

}  // namespace keepwell
