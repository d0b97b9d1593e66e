#include "runtime/keeper/attendant.h"

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "runtime/keeper/launch.h"

namespace keepwell {

int Attendant::start(std::uint64_t now_ms, std::span<const int> extra) {
  outbox.clear();
  watched_for_write = false;
  started_ms = now_ms;
  respawn_ms = 0;
  ++starts;
  wire::SocketPair pair = wire::make_pair();
  int error = pair.ours ? 0 : errno;
  if (error == 0) {
    std::vector<int> fds{pair.theirs.get()};
    fds.insert(fds.end(), extra.begin(), extra.end());
    pid_t started = launch_attendant(argv, fds, outlives_keeper);
    if (started < 0) {
      error = -started;
    } else {
      pid = started;
      control = std::move(pair.ours);
    }
  }
  if (error != 0) died(now_ms, false);
  return error;
}

void Attendant::died(std::uint64_t now_ms, bool at_once) {
  pid = 0;
  kill_ms = 0;
  control.reset();
  outbox.clear();
  bool served = now_ms - started_ms >= kServedMs;
  delay_ms = served ? 0 : std::clamp(delay_ms * 2, kDelayMinMs, kDelayMaxMs);
  respawn_ms = at_once ? now_ms : now_ms + delay_ms;
}

void Attendant::lost(std::uint64_t now_ms) {
  control.reset();
  outbox.clear();
  if (pid != 0) kill_ms = now_ms + kLostMs;
}

void Attendant::kill_if_due(std::uint64_t now_ms) {
  if (kill_ms == 0 || now_ms < kill_ms) return;
  kill_ms = 0;
  if (pid != 0) kill(pid, SIGKILL);
}

}  // namespace keepwell
