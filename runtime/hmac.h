// Signatures of what is sent to others.
#pragma once

#include <string>
#include <string_view>

namespace keepwell {

// HMAC-SHA256 of TEXT under KEY (RFC 2104), as 64 lower-case hex digits.
std::string hmac_sha256(std::string_view key, std::string_view text);

}  // namespace keepwell
