// A program that the keeper keeps running: the agent or the logger. When it dies it is started
// again at once; one that dies before it has served for 300 ms after 100 ms, and then after twice
// the last delay, up to 5 s.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/unique_fd.h"
#include "runtime/wire_socket.h"

namespace keepwell {

struct Attendant {
  static constexpr std::uint64_t kDelayMinMs = 100;
  static constexpr std::uint64_t kDelayMaxMs = 5000;
  static constexpr std::uint64_t kServedMs = 300;
  static constexpr std::uint64_t kLostMs = 2000;

  std::vector<std::string> argv;
  bool outlives_keeper = false;
  pid_t pid = 0;  // 0: not running
  UniqueFd control;
  wire::Outbox outbox;
  bool watched_for_write = false;  // of `control`, in the keeper's epoll
  std::uint64_t started_ms = 0;
  std::uint64_t respawn_ms = 0;  // when to start it again, if pid is 0; 0: not at all
  std::uint64_t kill_ms = 0;     // 0: not at all
  std::uint64_t delay_ms = 0;    // the last one used
  std::uint32_t starts = 0;

  // Starts it with a new control socket as 3 and EXTRA as 4...; 0 or errno. On failure it is put
  // off as if it had died.
  int start(std::uint64_t now_ms, std::span<const int> extra);

  // Notes its death and when to start it again; AT_ONCE for a wanted one.
  void died(std::uint64_t now_ms, bool at_once);

  // It closed its control socket. It is about to end, or of no use: killed if it lives 2 s longer.
  void lost(std::uint64_t now_ms);
  void kill_if_due(std::uint64_t now_ms);
};

}  // namespace keepwell
