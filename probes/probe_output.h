// The texts that Docker's clients and tests compare: what a finished probe is said to have put out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/time.h"

namespace keepwell {

// OUTPUT cut to kOutputBytesMax, with "..." behind it if anything of the TOTAL bytes was dropped.
// Bytes, not characters: JSON makes them valid later.
std::string capped_output(std::string output, std::uint64_t total);

// "Health check exceeded timeout (1s)", and ": OUTPUT" behind it if there was any.
std::string timeout_text(Duration timeout, std::string_view output);

// What is said when a probe's program did not come to run within the start guard.
std::string start_guard_text(std::string_view container_id);

}  // namespace keepwell
