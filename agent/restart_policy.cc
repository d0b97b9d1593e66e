#include "agent/restart_policy.h"

#include <algorithm>

namespace keepwell {
namespace {

int inside_window(const RestartSpec& spec, const std::deque<Instant>& times, Instant now) {
  if (spec.limit_window <= Duration::zero()) return static_cast<int>(times.size());
  return static_cast<int>(std::count_if(times.begin(), times.end(),
                                        [&](Instant at) { return now - at < spec.limit_window; }));
}

}  // namespace

PolicyAnswer after_end(const RestartSpec& spec, bool failed, int restarts) {
  switch (spec.policy) {
    case RestartPolicy::no:
      return PolicyAnswer::stay;
    case RestartPolicy::always:
    case RestartPolicy::unless_stopped:
      return PolicyAnswer::restart;
    case RestartPolicy::on_failure:
      if (!failed) return PolicyAnswer::stay;
      return spec.max_attempts > 0 && restarts >= spec.max_attempts ? PolicyAnswer::give_up
                                                                    : PolicyAnswer::restart;
  }
  return PolicyAnswer::stay;
}

Duration next_backoff(const RestartSpec& spec, Duration last) {
  if (last <= Duration::zero()) return std::min(spec.delay, spec.max_delay);
  const double next = static_cast<double>(last.count()) * std::max(1.0, spec.factor);
  if (next >= static_cast<double>(spec.max_delay.count())) return spec.max_delay;
  return Duration(static_cast<Duration::rep>(next));
}

OnUnhealthy unhealthy_action(OnUnhealthy asked, const RestartSpec& spec, int restarts,
                             const std::deque<Instant>& restart_times, Instant now) {
  if (asked == OnUnhealthy::policy) {
    if (after_end(spec, true, restarts) != PolicyAnswer::restart) return OnUnhealthy::none;
    asked = OnUnhealthy::restart;
  }
  // Stopping it for good is worse than leaving it: it may still answer somebody.
  if (asked == OnUnhealthy::restart && limit_reached(spec, restart_times, now)) {
    return OnUnhealthy::none;
  }
  return asked;
}

bool limit_reached(const RestartSpec& spec, const std::deque<Instant>& times, Instant now) {
  return spec.limit_count > 0 && inside_window(spec, times, now) >= spec.limit_count;
}

void note_restart(const RestartSpec& spec, std::deque<Instant>& times, Instant now) {
  if (spec.limit_count <= 0) {
    times.clear();
    return;
  }
  times.push_back(now);
  while (times.size() > static_cast<std::size_t>(spec.limit_count)) times.pop_front();
}

std::optional<int> restarts_left(const RestartSpec& spec, int restarts,
                                 const std::deque<Instant>& times, Instant now) {
  std::optional<int> left;
  if (spec.policy == RestartPolicy::on_failure && spec.max_attempts > 0) {
    left = std::max(0, spec.max_attempts - restarts);
  }
  if (spec.limit_count > 0) {
    const int by_limit = std::max(0, spec.limit_count - inside_window(spec, times, now));
    left = left ? std::min(*left, by_limit) : by_limit;
  }
  return left;
}

}  // namespace keepwell
