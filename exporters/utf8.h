// Text from containers, made fit to be shown: valid UTF-8 for formats that demand it, and without
// control characters where it goes to a terminal.
#pragma once

#include <string>
#include <string_view>

namespace keepwell {

// TEXT with each byte that belongs to no valid character replaced by U+FFFD, as Go does.
std::string valid_utf8(std::string_view text);

// valid_utf8, and control characters (C0, DEL, C1) as \n, \t or \xNN.
std::string terminal_text(std::string_view text);

}  // namespace keepwell
