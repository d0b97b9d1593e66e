#include "runtime/keeper/zygotes.h"

#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <string_view>
#include <utility>

#include "runtime/enter/plan_format.h"
#include "runtime/keeper/launch.h"
#include "runtime/wire_socket.h"

namespace keepwell {

int Zygotes::start(std::uint64_t id, int program, std::span<const int> fds, UniqueFd control) {
  if (zygotes_.contains(id)) return EEXIST;
  pid_t pid = launch_enter(program, fds);
  if (pid < 0) return -pid;
  Zygote& zygote = restore(id, pid);
  zygote.control = move_out_of_the_way(std::move(control));
  events_.watch(zygote.control.get(), id);
  return 0;
}

int Zygotes::ask(std::uint64_t id, std::uint64_t spawn, std::span<const int> fds) {
  auto it = zygotes_.find(id);
  if (it == zygotes_.end() || !it->second.control) return ESRCH;
  if (it->second.asked != 0) return EAGAIN;
  if (fds.size() != kZygoteRequestFds) return EINVAL;
  const std::string_view request("\0", 1);  // one byte, see plan_format.h
  if (int error = wire::send_with_fds(it->second.control.get(), request, fds); error != 0)
    return error;
  it->second.asked = spawn;
  return 0;
}

void Zygotes::readable(std::uint64_t id) {
  if (auto it = zygotes_.find(id); it != zygotes_.end()) read_answers(id, it->second);
}

void Zygotes::read_answers(std::uint64_t id, Zygote& zygote) {
  while (zygote.control) {
    ZygoteAnswer answer;
    ssize_t got = recv(zygote.control.get(), &answer, sizeof(answer), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0 && (errno == EINTR || errno == ECONNRESET))
      continue;  // a reset comes before last words
    // It is about to end, or says why it cannot serve (a PlanFailure), which ends it too.
    if (got != sizeof(answer)) return zygote.control.reset();
    if (!zygote.serves) {
      zygote.serves = true;
      events_.on_serves(id, zygote);
      continue;
    }
    std::uint64_t spawn = std::exchange(zygote.asked, 0);
    if (spawn == 0) continue;
    if (answer.pid > 0) {
      events_.on_made(spawn, answer.pid);
    } else {
      events_.on_not_made(spawn, -answer.pid);
    }
  }
}

void Zygotes::end(std::uint64_t id) {
  auto it = zygotes_.find(id);
  if (it == zygotes_.end()) return;
  if (it->second.control) shutdown(it->second.control.get(), SHUT_WR);
  // Our own child, so nobody else has its pid. One that stands still would hold its container's
  // mounts.
  if (it->second.asked == 0) kill(it->second.pid, SIGKILL);
}

void Zygotes::read_all() {
  for (auto& [id, zygote] : zygotes_) {
    if (zygote.asked != 0) read_answers(id, zygote);
  }
}

void Zygotes::end_all() {
  for (const auto& [id, zygote] : zygotes_) end(id);
}

Zygotes::Zygote& Zygotes::restore(std::uint64_t id, pid_t pid) {
  by_pid_[pid] = id;
  Zygote& zygote = zygotes_[id];
  zygote.pid = pid;
  return zygote;
}

bool Zygotes::died(pid_t pid, int status) {
  auto found = by_pid_.find(pid);
  if (found == by_pid_.end()) return false;
  const std::uint64_t id = found->second;
  by_pid_.erase(found);
  auto it = zygotes_.find(id);
  Zygote zygote = std::move(it->second);
  zygotes_.erase(it);
  read_answers(id, zygote);
  if (zygote.asked != 0) events_.on_not_made(zygote.asked, ESRCH);
  events_.on_ended(id, status);
  return true;
}

}  // namespace keepwell
