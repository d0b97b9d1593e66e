#include "probes/due_queue.h"

#include <algorithm>

namespace keepwell {

void DueQueue::set(Key key, Instant at) {
  const std::uint64_t number = ++last_number_;
  live_[key] = {.at = at, .number = number};
  heap_.push_back({.at = at, .number = number, .key = key});
  std::push_heap(heap_.begin(), heap_.end(), later);
  // Far-off entries that were replaced again and again would otherwise pile up.
  if (heap_.size() > 64 && heap_.size() > 4 * live_.size()) compact();
  drop_stale_top();
}

void DueQueue::cancel(Key key) {
  if (live_.erase(key) > 0) drop_stale_top();
}

std::optional<Instant> DueQueue::next() const {
  if (heap_.empty()) return std::nullopt;
  return heap_.front().at;
}

std::optional<DueQueue::Due> DueQueue::pop(Instant now) {
  if (heap_.empty() || heap_.front().at > now) return std::nullopt;
  std::pop_heap(heap_.begin(), heap_.end(), later);
  const Entry top = heap_.back();
  heap_.pop_back();
  live_.erase(top.key);
  drop_stale_top();
  return Due{.key = top.key, .at = top.at};
}

std::optional<Instant> DueQueue::at(Key key) const {
  const auto found = live_.find(key);
  if (found == live_.end()) return std::nullopt;
  return found->second.at;
}

bool DueQueue::stale(const Entry& entry) const {
  const auto found = live_.find(entry.key);
  return found == live_.end() || found->second.number != entry.number;
}

void DueQueue::drop_stale_top() {
  while (!heap_.empty() && stale(heap_.front())) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
  }
}

void DueQueue::compact() {
  std::erase_if(heap_, [this](const Entry& entry) { return stale(entry); });
  std::make_heap(heap_.begin(), heap_.end(), later);
}

}  // namespace keepwell
