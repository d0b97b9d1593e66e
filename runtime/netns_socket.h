// Sockets that live in another network namespace. A socket keeps the namespace that it was made in,
// so this process switches for the one call and back; it has a single thread, so nobody else is
// carried along. In a user namespace of our own another process does it (socket_maker.h).
#pragma once

#include "config/result.h"
#include "runtime/unique_fd.h"

namespace keepwell {

// socket(DOMAIN, TYPE | SOCK_CLOEXEC, PROTOCOL) in the network namespace of the process behind
// PIDFD. Aborts if the way back is closed, since going on in a stranger's network would be worse.
// Errc::not_found once that process has ended.
Result<UniqueFd> socket_in_network_of(int pidfd, int domain, int type, int protocol = 0);

// Sets the interface `lo` up there; runtimes leave it down. Harmless where it is up already.
Status bring_loopback_up(int pidfd);

}  // namespace keepwell
