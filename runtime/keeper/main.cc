// keepwell-keeper: started by `keepwell run`, never by hand.
//
//   keepwell-keeper [--lock-fd=N] [--listen-fd=N] --logger PATH --enter PATH -- AGENT ARGUMENT...
//
// N are descriptors that it inherits: the lock of the run directory, which it only holds, and the
// API's listening socket, which every agent gets as descriptor 4. The agent gets the control socket
// as 3, stdin, stdout, stderr and the environment of the keeper, and a session of its own.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <csignal>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/keeper/keeper.h"
#include "runtime/keeper/say.h"
#include "runtime/keeper/state.h"

namespace {

using keepwell::KeeperOptions;
using keepwell::UniqueFd;

std::optional<std::string_view> value_of(std::string_view argument, std::string_view name) {
  if (!argument.starts_with(name) || argument.size() == name.size()) return std::nullopt;
  if (argument[name.size()] != '=') return std::nullopt;
  return argument.substr(name.size() + 1);
}

UniqueFd inherited(std::string_view number) {
  int fd = -1;
  const char* end = number.data() + number.size();
  auto [at, ec] = std::from_chars(number.data(), end, fd);
  if (ec != std::errc{} || at != end || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return {};
  return UniqueFd(fd);
}

std::string own_path(const char* argv0) {
  std::array<char, 4096> path{};
  ssize_t n = readlink("/proc/self/exe", path.data(), path.size() - 1);
  return n > 0 ? std::string(path.data(), static_cast<std::size_t>(n)) : argv0;
}

int usage() {
  keepwell::say(
      "usage: keepwell-keeper [--lock-fd=N] [--listen-fd=N] --logger PATH --enter PATH -- "
      "AGENT...");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  KeeperOptions options;
  UniqueFd state;
  options.keeper_path = own_path(argv[0]);
  int i = 1;
  for (; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
    std::string_view argument = argv[i];
    if (auto fd = value_of(argument, "--check-state-fd")) {
      return keepwell::KeeperState::check(inherited(*fd).get()) ? 0 : 1;
    }
    if (auto fd = value_of(argument, "--resume-fd")) {
      state = inherited(*fd);
    } else if (auto lock = value_of(argument, "--lock-fd")) {
      options.lock = inherited(*lock);
      if (!options.lock) return usage();
    } else if (auto listen = value_of(argument, "--listen-fd")) {
      options.listen = inherited(*listen);
      if (!options.listen) return usage();
    } else if (argument == "--logger" && i + 1 < argc) {
      options.logger_path = argv[++i];
    } else if (argument == "--enter" && i + 1 < argc) {
      options.enter_path = argv[++i];
    } else {
      return usage();
    }
  }
  for (++i; i < argc; ++i) options.agent_argv.emplace_back(argv[i]);
  if (!state &&
      (options.agent_argv.empty() || options.logger_path.empty() || options.enter_path.empty())) {
    return usage();
  }
  // For good: signals are read from a descriptor, and what is launched sets its own mask.
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  // What whoever started us had ignored (nohup, a shell's &) must not be ignored by what we start:
  // that survives every exec. We ourselves lose nothing, as all are blocked.
  for (int number = 1; number < NSIG; ++number) std::signal(number, SIG_DFL);
  keepwell::Keeper keeper(std::move(options));
  return keeper.run(std::move(state));
}
