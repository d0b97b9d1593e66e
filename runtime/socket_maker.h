// In a user namespace of ours no process can go into a container's network and come back, since the
// way back leads to a network that is the host's. So a process of its own goes: it is asked for a
// socket in the network of a process, makes it there and hands it back. It is `keepwell
// socket-maker`, ends with the agent that started it, and does nothing else.
#pragma once

#include <memory>

#include "config/result.h"
#include "runtime/keeper_client.h"
#include "runtime/loop.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class EnterProcess;

class SocketMaker {
 public:
  // Starts one. It is what socket_in_network_of() asks from now on, until this object is gone.
  static Result<std::unique_ptr<SocketMaker>> start(Loop& loop, KeeperClient& keeper);
  ~SocketMaker();

  // Waits for the answer, some ten microseconds. Errc::unavailable where none comes within 2 s.
  // Where the network is the host's, which needs no going, the socket is made here.
  Result<UniqueFd> make(int pidfd, int domain, int type, int protocol);

  // The one that was started; null: none.
  static SocketMaker* current();

 private:
  SocketMaker() = default;

  UniqueFd socket_;
  std::unique_ptr<EnterProcess> process_;
};

// The program: answers on its standard input until the other side is gone. Returns its exit code.
int serve_sockets();

}  // namespace keepwell
