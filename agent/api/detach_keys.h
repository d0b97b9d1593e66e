// The keys by which a user leaves a terminal session without ending it. Pure.
#pragma once

#include <string>
#include <string_view>

#include "config/result.h"

namespace keepwell {

inline constexpr const char* kDetachKeysDefault = "ctrl-p,ctrl-q";

// "ctrl-p,ctrl-q", "a,ctrl-\\,DEL" -> the bytes that a terminal sends for them (as
// ToBytes of moby/term). Empty: the default. Errc::invalid, in Docker's words, for other names.
Result<std::string> parse_detach_keys(std::string_view keys);

// Finds the sequence in what a user types, and keeps it away from the program.
class DetachScanner {
 public:
  // An empty SEQUENCE never comes.
  explicit DetachScanner(std::string sequence) : sequence_(std::move(sequence)) {}

  // Appends to OUT what is the program's of BYTES. A beginning of the sequence is held back until
  // it is clear what it is. True once the sequence was complete; the rest of BYTES is then dropped.
  bool feed(std::string_view bytes, std::string& out);

 private:
  std::string sequence_;
  std::size_t matched_ = 0;
};

}  // namespace keepwell
