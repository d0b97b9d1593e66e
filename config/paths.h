// Paths as text; nothing here looks at the file system.
#pragma once

#include <string>
#include <string_view>

namespace keepwell {

// PATH, put behind DIRECTORY if it is relative, without empty, "." and ".." parts and without a
// slash at the end. "~" is not expanded. REQUIRES: DIRECTORY is absolute.
std::string absolute_path(std::string_view directory, std::string_view path);

// "/a/b" for "/a/b/c"; "/" for "/c"; "." for "c".
std::string directory_of(std::string_view path);

// "c" for "/a/b/c"; empty for "/".
std::string last_part(std::string_view path);

}  // namespace keepwell
