#include "agent/save_pacer.h"

#include <algorithm>

namespace keepwell {

bool SavePacer::put_off(const std::string& id, std::size_t checks, Instant now) {
  if (checks <= kChecksUnpaced) return false;
  Entry& entry = entries_[id];
  if (entry.due) return true;
  const Duration pace = std::min<Duration>(
      kSavePacePerCheck * static_cast<int>(std::min<std::size_t>(checks, 100)), kSavePaceMax);
  if (entry.written == Instant{} || now - entry.written >= pace) return false;
  entry.due = entry.written + pace;
  return true;
}

void SavePacer::saved(const std::string& id, Instant now) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  found->second = {.written = now, .due = std::nullopt};
}

std::vector<std::string> SavePacer::due(Instant now) const {
  std::vector<std::string> ids;
  for (const auto& [id, entry] : entries_) {
    if (entry.due && *entry.due <= now) ids.push_back(id);
  }
  return ids;
}

std::optional<Instant> SavePacer::next() const {
  std::optional<Instant> earliest;
  for (const auto& [id, entry] : entries_) {
    if (entry.due && (!earliest || *entry.due < *earliest)) earliest = entry.due;
  }
  return earliest;
}

}  // namespace keepwell
