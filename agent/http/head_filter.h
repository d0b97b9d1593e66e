// The strict gate in front of the HTTP parser. It looks at the raw bytes of a request's head
// (request line and header fields, up to the empty line) and refuses whatever two parsers could
// read in two ways: bare CR or LF, NUL, folded lines, odd names, more than one Host, any
// Transfer-Encoding but one "chunked", Content-Length beside it. What passes is read alike by every
// parser that we tried (security-reliability.md 4.1), so request smuggling has nothing to work
// with.
//
// Pure, and a function of the bytes alone: however they were split, the verdict is the same.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace keepwell {

inline constexpr std::size_t kHttpHeadBytesMax = 16 * 1024;
inline constexpr std::size_t kHttpTargetBytesMax = 8 * 1024;
inline constexpr int kHttpFieldsMax = 64;

struct HeadVerdict {
  enum class Kind { incomplete, complete, refused };
  Kind kind = Kind::incomplete;
  std::size_t bytes = 0;  // complete: length of the head with its empty line
  int status = 0;         // refused: the HTTP status to answer with,
  std::string text;       // and why
};

// Judges the head at the beginning of BYTES, which may go on behind it.
HeadVerdict filter_head(std::string_view bytes);

// Whether C may be part of a method or of a field's name (RFC 9110 tchar).
bool is_token_char(char c);

// ASCII only, as HTTP compares names.
bool equal_ignoring_case(std::string_view a, std::string_view b);
std::string_view trim_blanks(std::string_view text);

}  // namespace keepwell
