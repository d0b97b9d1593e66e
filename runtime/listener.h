// Listening sockets, made by hand because the safe way to make a unix one has steps that libuv does
// not take, and the accept loop over them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/result.h"
#include "runtime/fd_watch.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

struct UnixSocketSpec {
  std::string path;
  std::string group;  // empty: the group of this process
  std::uint32_t mode = 0660;
};

// A listening unix socket at SPEC.path; nobody can connect before owner and mode are right. A
// socket left behind there is replaced. Refused: a path longer than the kernel's 107 bytes,
// anything at the path that is not a socket (a symbolic link least of all), a parent directory that
// group or others may write (unless sticky), an unknown group. REQUIRES: the caller holds the lock
// of the run directory, so that the old socket is nobody's.
Result<UniqueFd> listen_unix(const UnixSocketSpec& spec);

// A listening TCP socket at ADDRESS: "127.0.0.1:9790", "[::1]:9790", "localhost:9790", ":9790" (all
// addresses). Port 0 lets the kernel choose. No name is looked up.
Result<UniqueFd> listen_tcp(const std::string& address);

// Where a listening TCP socket really listens, as "127.0.0.1:9790".
std::string local_address(int fd);

// Whether somebody listens on the unix socket at PATH. Never waits.
bool somebody_listens(const std::string& path);

// A connected client of the unix socket at PATH, blocking, close-on-exec.
Result<UniqueFd> connect_unix(const std::string& path);

// Who is at the other end of a unix socket, as the kernel noted it at connect.
struct PeerCredentials {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;  // the supplementary ones
  std::int32_t pid = 0;               // for the log only: it may have been reused
};
Result<PeerCredentials> peer_credentials(int fd);

class Listener {
 public:
  // Accepts connections on FD (listening already) and hands each to ON_ACCEPT: non-blocking,
  // close-on-exec. When descriptors run out, one connection is accepted with a reserve and closed,
  // and accepting pauses for 100 ms, so that neither the client nor the loop hangs.
  static Result<std::unique_ptr<Listener>> open(Loop& loop, UniqueFd fd,
                                                std::function<void(UniqueFd)> on_accept);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener() = default;  // stops listening; accepted connections are not touched

  // Leaves new connections in the kernel's backlog, for a server that is full.
  void pause();
  void resume();

  int fd() const { return fd_.get(); }

 private:
  Listener(Loop& loop, UniqueFd fd, std::function<void(UniqueFd)> on_accept);
  Status start();
  void accept_some();
  void out_of_descriptors();

  UniqueFd fd_;
  UniqueFd reserve_;
  std::function<void(UniqueFd)> on_accept_;
  FdWatch watch_;
  Timer retry_;
  bool paused_ = false;
  std::shared_ptr<bool> alive_;
};

}  // namespace keepwell
