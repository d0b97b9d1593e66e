#include "agent/exec_sessions.h"

#include "agent/api/exec_io.h"
#include "runtime/exec_session.h"
#include "runtime/loop.h"

namespace keepwell {
namespace {

constexpr Duration kSweep = std::chrono::seconds(30);

}  // namespace

Exec::Exec() = default;
Exec::~Exec() = default;

ExecSessions::ExecSessions(Loop& loop, std::uint64_t seed)
    : random_state_(seed ^ 0x9e3779b97f4a7c15u), sweeper_(loop) {}

ExecSessions::~ExecSessions() = default;

// splitmix64: unique and unguessable enough for a name; access is guarded by the socket.
std::string ExecSessions::new_id() {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id;
  for (int word = 0; word < 4; ++word) {
    std::uint64_t z = (random_state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    for (int digit = 0; digit < 16; ++digit, z >>= 4) id += kHex[z & 15];
  }
  return id;
}

Result<std::shared_ptr<Exec>> ExecSessions::create(const std::string& container_id,
                                                   const std::string& container_name,
                                                   std::uint64_t run, ExecSpec spec) {
  if (execs_.size() >= kExecsMax && !ended_.empty()) forget_ended(ended_.size() - 1);
  if (execs_.size() >= kExecsMax)
    return fail(Errc::unavailable, "cannot create exec: " + std::to_string(kExecsMax) +
                                       " are remembered already, try again in a few minutes");
  auto exec = std::make_shared<Exec>();
  exec->id = new_id();
  exec->container_id = container_id;
  exec->container_name = container_name;
  exec->run = run;
  exec->spec = std::move(spec);
  exec->created = Loop::now().mono;
  execs_[exec->id] = exec;
  created_.push_back(exec->id);
  if (created_.size() > kExecUnstartedFor) {
    const auto oldest = execs_.find(created_.front());
    if (oldest != execs_.end() && oldest->second->state == Exec::State::created) {
      execs_.erase(oldest);
    }
    created_.pop_front();
  }
  if (!sweeper_.armed()) sweeper_.start_after(kSweep, [this] { forget_old(); });
  return exec;
}

std::shared_ptr<Exec> ExecSessions::find(const std::string& id) const {
  const auto found = execs_.find(id);
  return found == execs_.end() ? nullptr : found->second;
}

std::vector<std::string> ExecSessions::unfinished(const std::string& container_id) const {
  std::vector<std::string> ids;
  for (const auto& [id, exec] : execs_)
    if (exec->container_id == container_id && exec->state != Exec::State::finished)
      ids.push_back(id);
  return ids;
}

void ExecSessions::finish(Exec& exec, int code) {
  exec.state = Exec::State::finished;
  exec.exit_code = code;
  exec.pid = 0;
  exec.ended = Loop::now().mono;
  exec.spec.env = {};
  ended_.push_back(exec.id);
  forget_ended(kEndedExecsMax);
}

void ExecSessions::container_ended(const std::string& container_id) {
  std::erase_if(execs_, [&container_id](const auto& entry) {
    return entry.second->container_id == container_id &&
           entry.second->state == Exec::State::created;
  });
}

// All but the KEEP that ended last. One whose last output is still on its way waits (some seconds
// at most), and those behind it with it.
void ExecSessions::forget_ended(std::size_t keep) {
  while (ended_.size() > keep) {
    const auto oldest = execs_.find(ended_.front());
    if (oldest != execs_.end()) {
      if (oldest->second->io) return;
      execs_.erase(oldest);
    }
    ended_.pop_front();
  }
}

void ExecSessions::forget_old() {
  const Instant now = Loop::now().mono;
  while (!ended_.empty()) {
    const std::shared_ptr<Exec> oldest = find(ended_.front());
    if (oldest && now - oldest->ended <= kExecKept) break;
    const std::size_t before = ended_.size();
    forget_ended(before - 1);
    if (ended_.size() == before) break;
  }
  std::erase_if(execs_, [now](const auto& entry) {
    const Exec& exec = *entry.second;
    return exec.state == Exec::State::created && now - exec.created > kExecUnstartedKept;
  });
  if (!execs_.empty()) sweeper_.start_after(kSweep, [this] { forget_old(); });
}

}  // namespace keepwell
