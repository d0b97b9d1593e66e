// What is due when: at most one instant per key. A binary heap that forgets lazily: replacing or
// cancelling leaves the old entry in the heap and marks it stale by its number, so that both cost
// O(1) or O(log n), and nothing is ever searched. Entries that fall due at the same instant come
// out in the order in which they were set, which makes a run reproducible.
// Invariant: the top of the heap is never stale.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "config/time.h"

namespace keepwell {

class DueQueue {
 public:
  using Key = std::uint64_t;

  // KEY is due at AT, and no longer at any other instant.
  void set(Key key, Instant at);

  // KEY is not due at all. Harmless if it was not.
  void cancel(Key key);

  // The earliest instant at which something is due.
  std::optional<Instant> next() const;

  // Takes out the first key whose instant has come, with that instant.
  struct Due {
    Key key = 0;
    Instant at{};
  };
  std::optional<Due> pop(Instant now);

  std::optional<Instant> at(Key key) const;
  std::size_t size() const { return live_.size(); }

 private:
  struct Entry {
    Instant at{};
    std::uint64_t number = 0;
    Key key = 0;
  };
  struct Live {
    Instant at{};
    std::uint64_t number = 0;
  };
  static bool later(const Entry& a, const Entry& b) {
    return a.at != b.at ? a.at > b.at : a.number > b.number;
  }
  bool stale(const Entry& entry) const;
  void drop_stale_top();
  void compact();

  std::vector<Entry> heap_;
  std::unordered_map<Key, Live> live_;
  std::uint64_t last_number_ = 0;
};

}  // namespace keepwell
