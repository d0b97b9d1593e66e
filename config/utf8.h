// UTF-8 as text that people and other programs can read.
#pragma once

#include <cstddef>
#include <string_view>

namespace keepwell {

// How many bytes the character at the begin of TEXT takes; 0 where those bytes are not UTF-8
// (overlong forms, surrogates and what lies above U+10FFFF included). REQUIRES: TEXT is not empty.
std::size_t utf8_length(std::string_view text);

// The offset of the first byte that is not UTF-8; npos where all of TEXT is.
std::size_t find_bad_utf8(std::string_view text);

}  // namespace keepwell
