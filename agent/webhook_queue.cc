#include "agent/webhook_queue.h"

#include <algorithm>

namespace keepwell {
namespace {

std::string key_of(const ActionSpec& action) {
  const HttpCheck& request = action.webhook.request;
  return action.name + ' ' + request.scheme + ' ' + request.host + ' ' +
         std::to_string(request.port) + ' ' + request.path;
}

Duration delay_after(int tries) {
  Duration delay = kWebhookDelayMin;
  for (int i = 1; i < tries && delay < kWebhookDelayMax; ++i) delay *= 2;
  return std::min<Duration>(delay, kWebhookDelayMax);
}

}  // namespace

void WebhookQueue::show(const Lane& lane) { (*stats_)[lane.name].pending = lane.waiting.size(); }

void WebhookQueue::drop_front(Lane& lane) {
  lane.waiting.pop_front();
  lane.tries = 0;
  lane.in_flight = 0;
}

void WebhookQueue::push(const ActionSpec& action, std::string body, Instant now) {
  Lane& lane = lanes_[key_of(action)];
  lane.name = action.name;
  lane.webhook = action.webhook;  // the newest rule counts: headers, secret, timeout
  if (lane.waiting.size() >= kWebhooksPerTarget) {
    // The one that is being tried cannot be called back.
    const std::ptrdiff_t oldest = lane.in_flight != 0 ? 1 : 0;
    lane.waiting.erase(lane.waiting.begin() + oldest);
    (*stats_)[lane.name].dropped_total++;
  }
  lane.waiting.push_back({.body = std::move(body), .queued = now});
  show(lane);
}

std::vector<WebhookQueue::Attempt> WebhookQueue::take(Instant now) {
  std::vector<Attempt> attempts;
  for (auto& [key, lane] : lanes_) {
    if (lane.in_flight != 0) continue;
    while (!lane.waiting.empty() && now - lane.waiting.front().queued >= kWebhookAgeMax) {
      drop_front(lane);
      (*stats_)[lane.name].dropped_total++;
      show(lane);
    }
    if (lane.waiting.empty() || lane.not_before > now) continue;
    lane.in_flight = ++last_number_;
    attempts.push_back({.number = lane.in_flight,
                        .name = lane.name,
                        .webhook = lane.webhook,
                        .body = lane.waiting.front().body,
                        .tries = lane.tries});
  }
  return attempts;
}

void WebhookQueue::done(std::uint64_t number, Outcome outcome, Instant now) {
  const auto found = std::find_if(lanes_.begin(), lanes_.end(), [number](const auto& each) {
    return number != 0 && each.second.in_flight == number;
  });
  if (found == lanes_.end()) return;
  Lane& lane = found->second;
  WebhookStats& stats = (*stats_)[lane.name];
  lane.in_flight = 0;
  if (outcome == Outcome::failed) {
    stats.failures_total++;
    lane.not_before = now + delay_after(++lane.tries);
    return;
  }
  if (outcome == Outcome::taken) {
    stats.delivered_total++;
  } else {
    stats.failures_total++;
    stats.dropped_total++;
  }
  drop_front(lane);
  lane.not_before = now;
  show(lane);
  if (lane.waiting.empty()) lanes_.erase(found);
}

std::optional<Instant> WebhookQueue::next() const {
  std::optional<Instant> earliest;
  for (const auto& [key, lane] : lanes_) {
    if (lane.in_flight != 0 || lane.waiting.empty()) continue;
    if (!earliest || lane.not_before < *earliest) earliest = lane.not_before;
  }
  return earliest;
}

}  // namespace keepwell
