// The target of a request taken apart: percent-decoding, the path's segments, the query's pairs.
// Values are read by Docker's rules: a boolean is false for "", 0, no, false, none in any case, and
// true for everything else; '+' is a space in the query and itself in the path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/result.h"

namespace keepwell {

// Fails on a '%' without two hex digits, and on a NUL, written as %00 or as it is.
Result<std::string> percent_decode(std::string_view text, bool plus_is_space);

// The non-empty segments of PATH, decoded: "/a//b%20c" -> {"a", "b c"}.
Result<std::vector<std::string>> split_path(std::string_view path);

class Query {
 public:
  // TEXT is what stands behind the '?'.
  static Result<Query> parse(std::string_view text);

  // The first value of NAME; nullptr if it was not given.
  const std::string* find(std::string_view name) const;
  std::string text(std::string_view name) const;  // "" if not given
  bool flag(std::string_view name) const;

  // A whole decimal number, surrounding blanks not allowed. Not given or empty: none. Something
  // else: an Error naming the parameter.
  Result<std::optional<std::int64_t>> number(std::string_view name) const;

  const std::vector<std::pair<std::string, std::string>>& pairs() const { return pairs_; }

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;
};

// Docker's reading of a boolean in a query.
bool query_flag(std::string_view value);

// Every character that is not unreserved becomes %XX.
std::string percent_encode(std::string_view text);

}  // namespace keepwell
