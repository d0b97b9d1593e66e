// What the restart policy says to an end that nobody asked for, and how long to wait: by Docker's
// rules and ours (DESIGN.md 5). Pure arithmetic: what is remembered in between is the Supervisor's.
#pragma once

#include <deque>
#include <optional>

#include "config/spec.h"
#include "config/time.h"

namespace keepwell {

enum class PolicyAnswer {
  stay,     // it ended, and that is all
  restart,  // after the backoff
  give_up   // it would be restarted, but its tries are used up
};

// RESTARTS: how many restarts the policy has made since the last start by hand. A stop by hand is
// not asked about here: it is the end of every policy.
PolicyAnswer after_end(const RestartSpec& spec, bool failed, int restarts);

// The delay, before jitter, that follows LAST (0: there was none, or it was reset).
Duration next_backoff(const RestartSpec& spec, Duration last);

// What becoming unhealthy does: the action itself, with `policy` already put to the policy. NONE
// where the policy says no, or has no tries left: the container is then left running.
OnUnhealthy unhealthy_action(OnUnhealthy asked, const RestartSpec& spec, int restarts,
                             const std::deque<Instant>& restart_times, Instant now);

// Whether restart.limit forbids one more restart at NOW. TIMES: the last restarts, oldest first,
// as note_restart() keeps them: no more than the limit counts.
bool limit_reached(const RestartSpec& spec, const std::deque<Instant>& times, Instant now);
void note_restart(const RestartSpec& spec, std::deque<Instant>& times, Instant now);

// How many restarts are left, by on_failure:N or by the limit; none: no limit.
std::optional<int> restarts_left(const RestartSpec& spec, int restarts,
                                 const std::deque<Instant>& times, Instant now);

}  // namespace keepwell
