// The command line's side of the world: the user's terminal, its signals, and plain waiting on a
// few descriptors. Blocking, for a program that does one thing; the agent has no use for it.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "config/time.h"
#include "runtime/unique_fd.h"

namespace keepwell {

bool is_terminal(int fd);

struct TerminalSize {
  int rows = 0, columns = 0;
};
// None where FD is no terminal.
std::optional<TerminalSize> terminal_size(int fd);

// A terminal that passes every key on, until destroyed: the settings of before come back then.
class RawTerminal {
 public:
  // Fails where FD is no terminal.
  static Result<RawTerminal> enter(int fd);
  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;
  ~RawTerminal();

 private:
  struct Saved;
  RawTerminal(int fd, std::unique_ptr<Saved> saved);

  int fd_;
  std::unique_ptr<Saved> saved_;
};

// The given signals, from now on read from a descriptor instead of acting.
class SignalQueue {
 public:
  static Result<SignalQueue> open(const std::vector<int>& signals);

  int fd() const { return fd_.get(); }
  // The next one that has arrived; none if there is none.
  std::optional<int> take();

 private:
  explicit SignalQueue(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// A descriptor and what is waited for (want_*), then what has come (readable also at its end).
struct Waiting {
  int fd = -1;  // negative: nothing ever comes
  bool want_read = false, want_write = false;
  bool readable = false, writable = false;
};
// Waits until one of ITEMS has what it waits for.
Status wait_for_io(std::vector<Waiting>& items);

// What the socket FD takes without waiting, at most all of BYTES; may be none.
Result<std::size_t> send_some(int fd, std::string_view bytes);

// Blocking. Fewer bytes than all is an Error.
Status write_all(int fd, std::string_view bytes);

// What is there, at least one byte unless FD has ended (then none); waits for it.
Result<std::string_view> read_some(int fd, std::string& buffer);

// No more will be written to this socket.
void shutdown_sending(int fd);

// SIGPIPE no longer ends this process: a write then fails instead.
void ignore_sigpipe();

// Seconds east of UTC here and now, and the zone's short name.
struct LocalZone {
  int utc_offset_seconds = 0;
  std::string name;
};
LocalZone local_zone(WallTime at);

}  // namespace keepwell
