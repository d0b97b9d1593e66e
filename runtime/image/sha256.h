// SHA-256, by which images, configs and manifests are named.
#pragma once

#include <string>
#include <string_view>

namespace keepwell {

// 64 small hex digits.
std::string sha256_hex(std::string_view bytes);

}  // namespace keepwell
