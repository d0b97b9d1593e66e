#include "config/suggest.h"

#include <algorithm>
#include <vector>

namespace keepwell {
namespace {

constexpr std::size_t kNameBytesMax = 40;

char folded(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
  return c == '-' ? '_' : c;
}

// Optimal string alignment distance, letter case and -/_ not counted.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t replace = last[j - 1] + (folded(a[i - 1]) == folded(b[j - 1]) ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) &&
          folded(a[i - 2]) == folded(b[j - 1])) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

std::string_view nearest_name(std::string_view typed,
                              std::span<const std::string_view> candidates) {
  if (typed.empty() || typed.size() > kNameBytesMax) return {};
  std::string_view best;
  // A third of the letters may be wrong; of a very short name, one.
  std::size_t best_distance = std::max<std::size_t>(1, typed.size() / 3) + 1;
  for (std::string_view candidate : candidates) {
    std::size_t longer = std::max(candidate.size(), typed.size());
    std::size_t shorter = std::min(candidate.size(), typed.size());
    if (longer - shorter >= best_distance) continue;
    std::size_t d = distance(typed, candidate);
    if (d < best_distance && d < candidate.size()) {
      best = candidate;
      best_distance = d;
    }
  }
  return best;
}

}  // namespace keepwell
