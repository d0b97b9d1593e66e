// Hands every event to whoever listens (event streams of the API, the agent's log, the metrics) and
// keeps the last kEventHistoryMax, which is what `events --since` can look back on. It gives each
// event its sequence number. Delivery is a plain call from publish(): a listener that is slow must
// queue for itself.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>

#include "exporters/event.h"

namespace keepwell {

inline constexpr std::size_t kEventHistoryMax = 256;  // as dockerd

class EventBus {
 public:
  using Listener = std::function<void(const Event&)>;

  // Ends the subscription when destroyed; may be destroyed at any time, also from inside the
  // listener itself, and after the bus.
  class Subscription {
   public:
    Subscription() = default;

   private:
    friend class EventBus;
    explicit Subscription(std::shared_ptr<Listener> listener) : listener_(std::move(listener)) {}
    std::shared_ptr<Listener> listener_;
  };

  [[nodiscard]] Subscription subscribe(Listener listener);

  // STORE is called with each event that is kept, before anybody is told of it: who is told twice,
  // by us and by the agent after us, can then see that it is the same.
  void store_with(std::function<void(const Event&)> store) { store_ = std::move(store); }

  // Numbers EVENT, keeps it (but for those of probes, which would push out all others), and tells
  // every listener that was there before the call. Returns it as it was told.
  Event publish(Event event);

  // Whether anybody listens: nobody needs the events of probes then.
  bool has_listeners() const;

  // Oldest first.
  const std::deque<Event>& history() const { return history_; }

  // What an earlier agent had published. REQUIRES: nothing was published yet.
  void restore(std::deque<Event> history, std::uint64_t last_sequence);

  std::uint64_t last_sequence() const { return last_sequence_; }

 private:
  std::list<std::weak_ptr<Listener>> listeners_;
  std::deque<Event> history_;
  std::function<void(const Event&)> store_;
  std::uint64_t last_sequence_ = 0;
};

}  // namespace keepwell
