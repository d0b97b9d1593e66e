// The regular expressions of `docker ps --filter name=...`: Go's syntax as far as names need it
// (literals, ., classes, \d \w \s \b, groups, |, * + ? {n,m} greedy or not, ^ $, (?i)). Matching
// takes time linear in the text whatever the pattern is, as in Go and unlike std::regex, since
// anyone who may read the API chooses the pattern.
#pragma once

#include <bitset>
#include <cstdint>
#include <string_view>
#include <vector>

#include "config/result.h"

namespace keepwell {

class NamePattern {
 public:
  // Errc::invalid for a syntax error, an unsupported construct, or more than 1,000 instructions.
  static Result<NamePattern> parse(std::string_view pattern);

  // Whether the pattern is found anywhere in TEXT.
  bool found_in(std::string_view text) const;

  // Where a jump leads is counted from the instruction itself, so that parts can be copied.
  struct Instruction {
    enum class Kind : std::uint8_t { set, split, jump, begin, end, word_edge, no_word_edge, match };
    Kind kind = Kind::match;
    std::int32_t next = 1;   // split, jump
    std::int32_t other = 0;  // split: the second way
    std::uint32_t set = 0;   // set: which
  };
  using ByteSet = std::bitset<256>;

 private:
  std::vector<Instruction> program_;
  std::vector<ByteSet> sets_;
};

}  // namespace keepwell
