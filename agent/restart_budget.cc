#include "agent/restart_budget.h"

#include <algorithm>
#include <set>
#include <unordered_map>

namespace keepwell {
namespace {

// The services that depend on SERVICE, directly or not.
std::set<std::string> all_dependents(const std::string& service, const DependencyGraph& graph) {
  std::set<std::string> found;
  std::vector<std::string> open{service};
  while (!open.empty()) {
    const std::string next = std::move(open.back());
    open.pop_back();
    for (const std::string& dependent : graph.dependents(next)) {
      if (found.insert(dependent).second) open.push_back(dependent);
    }
  }
  return found;
}

}  // namespace

std::optional<int> RestartBudget::remaining(Instant now) const {
  if (!on()) return std::nullopt;
  const auto used = std::count_if(times_.begin(), times_.end(),
                                  [&](Instant at) { return now - at < spec_.window; });
  return std::max(0, spec_.count - static_cast<int>(used));
}

void RestartBudget::take(Instant now) {
  times_.push_back(now);
  while (!times_.empty() && now - times_.front() >= spec_.window) times_.pop_front();
}

void RestartBudget::restore(const std::deque<Instant>& times) {
  times_.insert(times_.end(), times.begin(), times.end());
  std::sort(times_.begin(), times_.end());
}

Instant RestartBudget::next_free(Instant now) const {
  if (remaining(now).value_or(1) > 0) return now;
  // The `count`-th from the end is the one whose leaving makes room.
  return times_[times_.size() - static_cast<std::size_t>(spec_.count)] + spec_.window;
}

std::vector<std::uint32_t> restart_order(const std::vector<RestartWish>& wishes,
                                         const DependencyGraph& graph) {
  struct Place {
    RestartWish wish;
    std::set<std::string> dependents;
    int waits_for = 0;  // wishes of services that it depends on
  };
  std::vector<Place> places;
  places.reserve(wishes.size());
  for (const RestartWish& wish : wishes) {
    places.push_back({wish, all_dependents(wish.service, graph), 0});
  }
  for (Place& dependency : places) {
    for (Place& other : places) {
      // In a circle nobody is first, so neither waits for the other.
      if (!dependency.dependents.contains(other.wish.service) ||
          other.dependents.contains(dependency.wish.service)) {
        continue;
      }
      other.waits_for++;
      dependency.wish.priority = std::max(dependency.wish.priority, other.wish.priority);
      dependency.wish.tries = std::min(dependency.wish.tries, other.wish.tries);
    }
  }
  const auto before = [](const Place& a, const Place& b) {
    if ((a.waits_for == 0) != (b.waits_for == 0)) return a.waits_for == 0;
    if (a.wish.tries != b.wish.tries) return a.wish.tries < b.wish.tries;
    if (a.wish.priority != b.wish.priority) return a.wish.priority > b.wish.priority;
    if (a.wish.asked != b.wish.asked) return a.wish.asked < b.wish.asked;
    return a.wish.serial < b.wish.serial;
  };
  std::vector<std::uint32_t> order;
  while (!places.empty()) {
    const auto next = std::min_element(places.begin(), places.end(), before);
    const Place taken = *next;
    places.erase(next);
    order.push_back(taken.wish.serial);
    for (Place& other : places) {
      if (taken.dependents.contains(other.wish.service) &&
          !other.dependents.contains(taken.wish.service)) {
        other.waits_for--;
      }
    }
  }
  return order;
}

}  // namespace keepwell
