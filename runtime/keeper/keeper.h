// The anchor of everything that runs: parent, reaper, holder of descriptors and exit statuses, and
// the one that starts agent and logger again. It decides nothing about services. One thread, one
// wait point (epoll over signalfd, control sockets and the pidfds of foreign processes).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/keeper/attendant.h"
#include "runtime/keeper/children.h"
#include "runtime/keeper/zygotes.h"
#include "runtime/unique_fd.h"
#include "runtime/wire_socket.h"

namespace keepwell {

struct KeeperOptions {
  std::string keeper_path;  // for an upgrade
  std::string logger_path;
  std::string enter_path;
  std::vector<std::string> agent_argv;
  UniqueFd lock;    // held, never used
  UniqueFd listen;  // given to every agent
};

class Keeper {
 public:
  explicit Keeper(KeeperOptions options);
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // Runs until the agent's requested end; returns the exit code of the process. STATE: descriptor
  // of what the keeper before an upgrade has written (state.h), or none. REQUIRES: all signals are
  // blocked.
  int run(UniqueFd state);

 private:
  // Epoll tags. Above them the ids of foreign children and of zygotes, each with a bit of its own.
  static constexpr std::uint64_t kSignalsTag = 1;
  static constexpr std::uint64_t kAgentTag = 2;
  static constexpr std::uint64_t kLoggerTag = 3;
  static constexpr std::uint64_t kForeignTag = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kZygoteTag = std::uint64_t{1} << 62;

  friend class KeeperState;  // writes and reads all of this for an upgrade

  struct KeptFd {
    UniqueFd fd;
    std::string blob;
    bool for_logger = false;
    std::uint64_t stream = 0;   // its number at the logger
    bool dropping = false;      // being drained
    std::uint64_t drop_id = 0;  // the question to answer then, if its asker still lives
  };

  struct UpgradeRequest {
    std::uint64_t id = 0;
    std::string keeper, logger, enter;
    std::vector<std::string> agent_argv;
  };

  int open();
  void set_events();
  void start_fresh();
  void turn();
  int next_timeout_ms(std::uint64_t now_ms) const;
  void timers(std::uint64_t now_ms);
  void watch(int fd, std::uint64_t tag);
  void update_interest(Attendant& of, std::uint64_t tag);

  void read_signals();
  bool on_other(pid_t pid, int status);
  void agent_died(int status);
  void logger_died();
  void start_agent();
  void start_logger();
  void begin_end(int code);

  void read_agent();
  void on_agent(wire::Datagram& message);
  void on_spawn(wire::Datagram& message);
  void on_zygote(wire::Datagram& message);
  void on_claim(wire::Datagram& message);
  void on_keep(wire::Datagram& message);
  void on_drop(wire::Datagram& message);
  void drain(std::string name, KeptFd kept, std::uint64_t question);
  void on_fetch(wire::Datagram& message);
  void on_stats(std::uint64_t id);
  void on_upgrade(wire::Datagram& message);
  void try_upgrade();
  void resume();
  void send_hello();
  static wire::Child child_message(const ChildProcess& child);
  void send_agent(std::string message, std::span<const int> fds = {});
  void answer(wire::Type type, std::uint64_t id, int error_number, std::span<const int> fds = {});

  void read_logger();
  void send_stream(const std::string& name, const KeptFd& kept);
  void send_logger(std::string message, std::span<const int> fds = {});

  KeeperOptions options_;
  UniqueFd epoll_;
  UniqueFd signals_;
  UniqueFd program_;  // keepwell-enter
  Attendant agent_;
  Attendant logger_;
  Children children_;
  Zygotes zygotes_;
  std::map<std::string, KeptFd> kept_;
  std::uint64_t next_stream_ = 1;
  // Arrived while there was no agent, and every stop: it is told to the next agent too, until one
  // says `stopping`.
  std::vector<int> pending_signals_;
  int last_wait_status_ = 0;  // of the last agent
  bool ready_once_ = false;   // some agent has said so
  bool stopping_ = false;     // the agent announced its end
  bool respawning_ = false;   // ... or its replacement
  int exit_code_ = 0;
  bool ending_ = false;  // only the logger is waited for
  std::uint64_t end_deadline_ms_ = 0;
  bool recheck_ = false;
  bool done_ = false;
  std::optional<UpgradeRequest> upgrade_;  // waits for the outboxes to be empty
  std::uint64_t upgrade_id_ = 0;           // the question that the next keeper answers
  bool logger_respawning_ = false;         // told to finish for the sake of a newer one
};

}  // namespace keepwell
