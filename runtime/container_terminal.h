// The terminal of a service with `tty: true`. Its master cannot be read by the logger (which copies
// before it takes, and that only pipes allow), so the agent moves what the container writes from
// the master into the log's FIFO. A copy of the master is with the keeper: while there is no agent
// the container waits at a full terminal, and the next agent goes on. A terminal does not survive
// its keeper.
#pragma once

#include <string>

#include "config/result.h"
#include "runtime/fd_watch.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class ContainerTerminal {
 public:
  // REQUIRES: LOOP outlives it.
  explicit ContainerTerminal(Loop& loop) : master_watch_(loop), log_watch_(loop) {}

  // Takes MASTER over and moves its output into LOG_FIFO, a path; empty: output is dropped.
  Status start(UniqueFd master, const std::string& log_fifo);

  // Moves what is still there, without waiting, and closes. Nothing happens where nothing was
  // started.
  void finish();

  bool open() const { return static_cast<bool>(master_); }
  int master() const { return master_.get(); }
  Status resize(int rows, int columns);

 private:
  void move();
  bool flush();

  UniqueFd master_, log_;
  FdWatch master_watch_, log_watch_;
  std::string pending_;  // read and not yet in the FIFO, at most one read
};

// A unix socket in DIR on which a runtime hands over the master of a terminal.
class ConsoleSocket {
 public:
  static Result<ConsoleSocket> open(const std::string& dir);

  // For --console-socket. Short whatever DIR is: socket addresses hold 107 bytes.
  std::string path() const;

  // What the runtime sent, once it has ended. Removes the socket.
  Result<UniqueFd> take();

 private:
  ConsoleSocket() = default;

  UniqueFd dir_, listener_;
};

// The descriptor that one message on SOCKET carries, without waiting; empty where there is none.
UniqueFd receive_descriptor(int socket);

}  // namespace keepwell
