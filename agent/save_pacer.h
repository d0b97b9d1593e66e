// When the live record of a container with many checks is written. It holds all of them, so writing
// it after every probe would cost the square of their number. Up to kChecksUnpaced of them it is
// written at once; with more, what no verdict depends on waits, for a second at most. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/time.h"

namespace keepwell {

inline constexpr std::size_t kChecksUnpaced = 4;
inline constexpr Duration kSavePacePerCheck = std::chrono::milliseconds(100);
inline constexpr Duration kSavePaceMax = std::chrono::seconds(1);

class SavePacer {
 public:
  // The record of ID, with so many CHECKS, is out of date. True: it is put off, and due() has it
  // later; false: it is to be written now.
  bool put_off(const std::string& id, std::size_t checks, Instant now);

  // It was written, or there is nothing to write any more.
  void saved(const std::string& id, Instant now);
  void forget(const std::string& id) { entries_.erase(id); }

  // What is to be written now; each is owed a saved() or forget().
  std::vector<std::string> due(Instant now) const;
  std::optional<Instant> next() const;

 private:
  struct Entry {
    Instant written{};
    std::optional<Instant> due;
  };
  std::map<std::string, Entry> entries_;
};

}  // namespace keepwell
