// A message that may carry one descriptor, over a unix socket (SCM_RIGHTS).
#pragma once

#include <sys/types.h>

#include <cstddef>

#include "runtime/unique_fd.h"

namespace keepwell {

// Receives one message into BUFFER and the descriptor that came with it, close-on-exec, into FD. Of
// further descriptors the kernel closes what has no room. FLAGS as for recvmsg. Returns what
// recvmsg does, with its errno; FD is left alone where none came.
ssize_t receive_with_fd(int socket, void* buffer, std::size_t bytes, UniqueFd& fd, int flags);

}  // namespace keepwell
