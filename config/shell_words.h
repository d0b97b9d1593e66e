// A command given as one text is split into words as a shell would, and as docker compose does:
// at blanks, with '...', "..." and \ taking away special meaning. No shell runs, so what only a
// shell can do (; & | < > and parentheses outside quotes) is refused rather than passed on or, as
// docker compose does, cut off in silence.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"

namespace keepwell {

// Fails with Errc::invalid. An empty text gives no words.
Result<std::vector<std::string>> split_shell_words(std::string_view text);

}  // namespace keepwell
