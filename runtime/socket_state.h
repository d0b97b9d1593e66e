// Two questions about a socket that reading and writing do not answer.
#pragma once

namespace keepwell {

// Whether the peer has taken everything out of its socket that was sent to it (SIOCOUTQ); true
// where the kernel cannot say.
bool peer_has_read_all(int fd);

// Whether the peer has closed its socket altogether, and not only its sending half.
bool peer_has_closed(int fd);

}  // namespace keepwell
