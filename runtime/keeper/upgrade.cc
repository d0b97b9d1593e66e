// How the keeper becomes a newer one without letting go of anything: its state goes into a memfd,
// the new program is asked whether it understands it, and is exec'ed in place. Pid, children,
// descriptors and the sockets to agent and logger stay; signals that arrive meanwhile are blocked
// and so wait.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "runtime/keeper/clock.h"
#include "runtime/keeper/keeper.h"
#include "runtime/keeper/launch.h"
#include "runtime/keeper/proc_facts.h"
#include "runtime/keeper/say.h"
#include "runtime/keeper/state.h"

namespace keepwell {
namespace {

constexpr int kTrialMs = 3000;

// Has the program at PATH read STATE, for at most kTrialMs; 0 if it says that it can.
int trial(const std::string& path, int state) {
  std::array<int, 1> fds{state};
  pid_t pid = launch_attendant({path, "--check-state-fd=3"}, fds);
  if (pid < 0) return -pid;
  UniqueFd pidfd(open_pidfd(pid));
  pollfd ready{pidfd.get(), POLLIN, 0};
  if (poll(&ready, 1, kTrialMs) != 1) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status == 0 ? 0 : ENOEXEC;
}

}  // namespace

void Keeper::on_upgrade(wire::Datagram& message) {
  auto body = message.body<wire::Upgrade>();
  wire::Text text(message);
  UpgradeRequest request{message.head.id,
                         text.take(body.keeper_bytes),
                         text.take(body.logger_bytes),
                         text.take(body.enter_bytes),
                         {}};
  std::string argv = text.take(body.argv_bytes);
  if (!text.ok()) return answer(wire::Type::upgraded, message.head.id, EINVAL);
  for (std::size_t at = 0; at < argv.size();) {
    std::size_t end = std::min(argv.find('\0', at), argv.size());
    request.agent_argv.push_back(argv.substr(at, end - at));
    at = end + 1;
  }
  upgrade_ = std::move(request);
}

// Once nothing waits to be sent (a queued message is not part of the state).
void Keeper::try_upgrade() {
  if (!agent_.outbox.empty() || !logger_.outbox.empty() || agent_.pid == 0) return;
  UpgradeRequest request = std::move(*upgrade_);
  upgrade_.reset();
  std::string path = request.keeper.empty() ? options_.keeper_path : request.keeper;
  KeeperOptions before{
      options_.keeper_path, options_.logger_path, options_.enter_path, options_.agent_argv, {}, {}};
  options_.keeper_path = path;
  if (!request.logger.empty()) options_.logger_path = request.logger;
  if (!request.enter.empty()) options_.enter_path = request.enter;
  if (!request.agent_argv.empty()) options_.agent_argv = request.agent_argv;
  upgrade_id_ = request.id;
  UniqueFd state = KeeperState::save(*this);
  int error = state ? trial(path, state.get()) : errno;
  if (error == 0) {
    KeeperState::set_inheritable(*this, true);
    fcntl(state.get(), F_SETFD, 0);
    std::string resume = "--resume-fd=" + std::to_string(state.get());
    std::array<char*, 3> argv{path.data(), resume.data(), nullptr};
    execv(path.c_str(), argv.data());
    error = errno;
    KeeperState::set_inheritable(*this, false);
  }
  say("cannot become %s: %s", path.c_str(), std::strerror(error));
  options_.keeper_path = before.keeper_path;
  options_.logger_path = before.logger_path;
  options_.enter_path = before.enter_path;
  options_.agent_argv = before.agent_argv;
  answer(wire::Type::upgraded, request.id, error);
}

// The first thing that the new keeper does.
void Keeper::resume() {
  agent_.argv = options_.agent_argv;
  logger_.argv = {options_.logger_path};
  program_ = load_program(options_.enter_path);
  if (agent_.control) watch(agent_.control.get(), kAgentTag);
  if (logger_.control) watch(logger_.control.get(), kLoggerTag);
  for (const auto& [id, zygote] : zygotes_.all()) {
    if (zygote.control) watch(zygote.control.get(), kZygoteTag | id);
  }
  recheck_ = true;
  // Everything that happened in between is found by looking.
  children_.reap();
  int error = program_ ? 0 : errno;
  if (error != 0) say("cannot read %s: %s", options_.enter_path.c_str(), std::strerror(error));
  if (upgrade_id_ != 0) answer(wire::Type::upgraded, upgrade_id_, error);
  upgrade_id_ = 0;
  // The new logger program takes over when the old one has emptied what it holds.
  if (logger_.pid != 0) {
    logger_respawning_ = true;
    send_logger(encode(wire::Type::finish, 0, wire::Nothing{}));
  }
}

}  // namespace keepwell
