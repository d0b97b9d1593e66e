// Patterns for a response's body: RE2, whose matching time is linear in the text. Both factors are
// bounded, so that one match takes at most some tens of milliseconds whatever the pattern: the text
// by kNetBodyBytesMax, the pattern by the size of the program that RE2 makes of it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace keepwell {

// Why PATTERN cannot be used, in RE2's words or ours; none: it can. For the config's checks.
std::optional<std::string> body_regex_fault(const std::string& pattern);

// Whether PATTERN matches somewhere in TEXT; false for a pattern with a fault. Compiled patterns
// are kept, since the same ones are asked for again and again.
bool body_matches(const std::string& pattern, std::string_view text);

}  // namespace keepwell
