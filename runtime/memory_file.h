// Files that are nowhere but in memory: the standard input and output of programs.
#pragma once

#include <string>

#include "config/result.h"
#include "runtime/unique_fd.h"

namespace keepwell {

// A file that holds TEXT, to be read from its beginning.
Result<UniqueFd> memory_file(const std::string& text = {});

// What is in FD, from its beginning, at most LIMIT bytes.
std::string memory_file_text(int fd, std::size_t limit);

}  // namespace keepwell
