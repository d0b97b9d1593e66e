// Tells systemd how we do (sd_notify's protocol: one datagram to $NOTIFY_SOCKET), without its
// library. Where nobody asked to be told, nothing is done.
#pragma once

#include <optional>
#include <string_view>

#include "config/time.h"

namespace keepwell {

// STATE as in sd_notify(3): "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=...". A failure is
// nobody's business but systemd's, whose timeout will say so.
void notify_supervisor(std::string_view state);

// How often WATCHDOG=1 is wanted: half of $WATCHDOG_USEC; none: not at all. $WATCHDOG_PID is not
// looked at, since it names the keeper, on whose behalf the agent speaks (NotifyAccess=all).
std::optional<Duration> watchdog_period();

}  // namespace keepwell
