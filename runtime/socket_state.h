// Questions about a descriptor that reading and writing do not answer.
#pragma once

namespace keepwell {

// Whether the peer has taken everything out of its socket that was sent to it (SIOCOUTQ); true
// where the kernel cannot say.
bool peer_has_read_all(int fd);

// Whether the peer has closed its socket altogether, and not only its sending half.
bool peer_has_closed(int fd);

// Whether a line can be written to FD without waiting for whoever reads it.
bool can_take_a_line(int fd);

}  // namespace keepwell
