// Base64, as Go writes []byte into JSON and docker cp expects its header.
#pragma once

#include <string>
#include <string_view>

namespace keepwell {

// With padding, on one line.
std::string base64(std::string_view bytes);

}  // namespace keepwell
