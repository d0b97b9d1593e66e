// `keepwell forward-ports`: what makes the published ports of one container for an ordinary user,
// to whose keepwell the host's firewall does not belong. It is given sockets that are bound on the
// host (each stays in the network where it was made) and runs in the namespace of the bridges:
// what arrives on the one it hands to the container on the other, as Podman's rootlessport does.
// So the container sees the bridge's own address as its client's.
//
// One process for each container: it outlives the agent, and nothing that one container's clients
// do reaches another's. It keeps no rights but those of the user.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/ip_address.h"
#include "config/result.h"
#include "runtime/unique_fd.h"

namespace keepwell {

// Where one of the sockets leads.
struct RelayTarget {
  bool udp = false;
  IpAddress address;
  std::uint16_t port = 0;
};

// Gives TARGETS with their sockets FDS (as many, borrowed) to the program at the other end of
// SOCKET (SOCK_SEQPACKET) and says that there are no more.
Status send_relay_targets(int socket, const std::vector<RelayTarget>& targets,
                          const std::vector<int>& fds);

// The program. Standard input is the other end. Returns 0 at once where it goes on in the
// background: once it serves, its pid is in PID_FILE and one byte is sent. Otherwise the other end
// is closed, and the reason is on stderr.
int relay_ports(const std::string& pid_file);

// A socket of the target's family and kind, connected or connecting, non-blocking.
Result<UniqueFd> connect_to(const RelayTarget& target);

}  // namespace keepwell
