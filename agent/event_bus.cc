#include "agent/event_bus.h"

#include <utility>
#include <vector>

#include "config/check.h"

namespace keepwell {

EventBus::Subscription EventBus::subscribe(Listener listener) {
  auto shared = std::make_shared<Listener>(std::move(listener));
  listeners_.push_back(shared);
  return Subscription(std::move(shared));
}

bool EventBus::has_listeners() const {
  for (const std::weak_ptr<Listener>& listener : listeners_) {
    if (!listener.expired()) return true;
  }
  return false;
}

Event EventBus::publish(Event event) {
  event.sequence = ++last_sequence_;
  if (!event.probe) {
    history_.push_back(event);
    if (history_.size() > kEventHistoryMax) history_.pop_front();
    if (store_) store_(event);
  }
  // A listener may subscribe, unsubscribe or publish; so neither the list nor the history is held
  // by reference while it runs.
  std::vector<std::shared_ptr<Listener>> now;
  now.reserve(listeners_.size());
  listeners_.remove_if([&](const std::weak_ptr<Listener>& weak) {
    std::shared_ptr<Listener> listener = weak.lock();
    if (listener == nullptr) return true;
    now.push_back(std::move(listener));
    return false;
  });
  for (const std::shared_ptr<Listener>& listener : now) {
    // The count is 1 where an earlier listener has ended this one's subscription.
    if (listener.use_count() > 1) (*listener)(event);
  }
  return event;
}

void EventBus::restore(std::deque<Event> history, std::uint64_t last_sequence) {
  KW_CHECK(last_sequence_ == 0);
  history_ = std::move(history);
  while (history_.size() > kEventHistoryMax) history_.pop_front();
  last_sequence_ = last_sequence;
}

}  // namespace keepwell
