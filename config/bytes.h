// Sizes as Compose writes them: 512m, 1.5g, 64k, 1024, 10MiB. k, m, g, t, p count in 1024s, with or
// without a b (or ib) behind; a bare number counts bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/result.h"

namespace keepwell {

// Fails with Errc::invalid for anything negative, empty, or larger than 2^63 - 1.
Result<std::int64_t> parse_bytes(std::string_view text);

// The shortest text that parse_bytes reads back to BYTES: 512m, 1g, 1000.
std::string format_bytes(std::int64_t bytes);

}  // namespace keepwell
