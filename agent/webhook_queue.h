// Webhooks that are to be delivered. Pure: it is told the time and what became of each attempt, and
// says what to try next. One lane for each target, so that one that is down holds up no other; in a
// lane one attempt at a time, in order. A failed attempt is made again after 1 s, doubling to 5
// minutes, until the delivery is a day old. A lane holds at most kWebhooksPerTarget deliveries: the
// oldest goes when one more comes. So a target that is down for a day costs bounded memory and 300
// attempts.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/spec.h"
#include "config/time.h"
#include "exporters/agent_stats.h"

namespace keepwell {

inline constexpr std::size_t kWebhooksPerTarget = 100;
inline constexpr Duration kWebhookAgeMax = std::chrono::hours(24);
inline constexpr Duration kWebhookDelayMin = std::chrono::seconds(1);
inline constexpr Duration kWebhookDelayMax = std::chrono::minutes(5);

class WebhookQueue {
 public:
  // STATS, by name of the webhook, are kept up to date. REQUIRES: they outlive the queue.
  explicit WebhookQueue(std::map<std::string, WebhookStats>& stats) : stats_(&stats) {}

  void push(const ActionSpec& action, std::string body, Instant now);

  // One try at delivering. The target may have taken it although the attempt failed: the body's id
  // tells it then that it comes a second time.
  struct Attempt {
    std::uint64_t number = 0;
    std::string name;
    WebhookSpec webhook;
    std::string body;
    int tries = 0;  // failed ones before this
  };
  // What is to be tried now; each is owed one done().
  std::vector<Attempt> take(Instant now);

  enum class Outcome { taken, failed, refused };  // refused: it will not be taken later either
  void done(std::uint64_t number, Outcome outcome, Instant now);

  // When take() has something next, if no attempt ends before.
  std::optional<Instant> next() const;

 private:
  struct Delivery {
    std::string body;
    Instant queued{};
  };
  struct Lane {
    std::string name;
    WebhookSpec webhook;
    std::deque<Delivery> waiting;
    std::uint64_t in_flight = 0;  // of the first in waiting; 0: none
    int tries = 0;                // of the first
    Instant not_before{};
  };
  void drop_front(Lane& lane);
  void show(const Lane& lane);

  std::map<std::string, WebhookStats>* stats_;
  std::map<std::string, Lane> lanes_;  // by name and address
  std::uint64_t last_number_ = 0;
};

}  // namespace keepwell
