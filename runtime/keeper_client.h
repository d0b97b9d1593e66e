// The agent's side of its keeper (keeper_protocol.h). The keeper is the parent of everything that
// runs: the agent orders, is told, and acknowledges. An exit that was not acknowledged is told
// again to the next agent, so nothing is lost by the agent's own death.
//
//   auto keeper = KeeperClient::open(loop, UniqueFd(wire::kControlFd), {.on_signal = ...});
//   for (auto& child : keeper->inherited().children) ...   // what runs already
//   keeper->ready();
//   keeper->spawn({.fds = {...}, .durable = true, .key = "container web-1"}, {.on_started = ...});
//
// Every callback comes from the loop, never from inside a method. A handler may destroy the client.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "config/time.h"
#include "runtime/fd_watch.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"
#include "runtime/wire_socket.h"

namespace keepwell {

using SpawnId = std::uint64_t;

// How a process ended. An exit that nobody could wait for has known = false (a process adopted from
// a keeper that died, on a kernel without PIDFD_GET_INFO): it is never made up.
struct ExitRecord {
  SpawnId id = 0;
  std::string key;
  pid_t pid = 0;
  bool known = false;
  int code = 0;    // exit code, if signal is 0
  int signal = 0;  // what killed it, else 0
  bool core_dumped = false;
  Duration user_cpu{0};  // of the process and of what it waited for
  Duration system_cpu{0};
  std::uint64_t rss_bytes_max = 0;
  Now at;  // when the keeper reaped it

  // As a shell and Docker say it: the code, or 128 + the signal; 255 if it is not known.
  int status() const { return !known ? 255 : signal != 0 ? 128 + signal : code; }
};

struct SpawnOrder {
  std::vector<int> fds;  // borrowed: become descriptors 0..n-1 of keepwell-enter, 1 to 64 of them
  bool durable = false;  // outlives this agent; its exit must be acknowledged with ack()
  std::string
      kill_cgroup;     // ephemeral: directory whose cgroup.kill the keeper writes if the agent dies
  std::string key{};   // durable: opaque, at most 1024 bytes, by which the next agent knows it
  SpawnId zygote = 0;  // not 0: of start_zygote(); FDS are then what that is asked with, and the
                       // process is ephemeral
};

// Exactly one of on_started and on_failed is called, once; on_exited after on_started, once.
struct SpawnHandlers {
  std::function<void(pid_t, UniqueFd pidfd)> on_started{};
  std::function<void(Error)> on_failed{};  // nothing runs; what keepwell-enter itself found wrong
                                           // comes by its own status pipe
  std::function<void(const ExitRecord&)> on_exited{};
};

struct InheritedChild {
  SpawnId id = 0;
  std::string key;
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;
  UniqueFd pidfd;
};

struct KeptFd {
  std::string name;
  std::string blob;
  bool for_logger = false;
};

// What the keeper held when this agent came to it.
struct Inherited {
  std::uint32_t generation = 0;  // 0: first agent of this keeper
  int last_wait_status = 0;      // of the agent before
  std::string keeper_version;
  std::uint16_t protocol_version = 0;
  pid_t keeper_pid = 0;
  std::vector<InheritedChild> children;  // durable, alive; call watch() for their exits
  std::vector<ExitRecord> exits;         // durable, not acknowledged
  std::vector<KeptFd> kept;              // their descriptors by fetch_fd()
};

struct KeeperStats {
  std::uint64_t spawns = 0, spawn_failures = 0, reaped = 0, unclaimed_exits_lost = 0;
  std::uint64_t agent_starts = 0, logger_starts = 0, children = 0, kept_fds = 0;
  Duration loop_lag_max{0};
};

struct UpgradePaths {
  std::string keeper{}, logger{}, enter{};  // empty: the path it was started with
  std::vector<std::string> agent_argv{};    // empty: as before
};

class KeeperClient {
 public:
  struct Handlers {
    std::function<void(int)> on_signal{};  // SIGTERM, SIGINT, SIGHUP sent to the keeper, each once
    // A durable child ordered by an agent before this one that began only now (its helper was
    // slow); as one of inherited().children otherwise.
    std::function<void(InheritedChild)> on_late_child{};
    // The keeper is gone; PDEATHSIG is about to end this process too. Nothing more is called.
    std::function<void(Error)> on_lost{};
  };

  // Takes over CONTROL and waits (at most 10 s, blocking: the keeper has it ready) for what the
  // keeper says first. Fails if that is not a keeper, or one that speaks no version that we know.
  static Result<std::unique_ptr<KeeperClient>> open(Loop& loop, UniqueFd control,
                                                    Handlers handlers);

  KeeperClient(const KeeperClient&) = delete;
  KeeperClient& operator=(const KeeperClient&) = delete;
  ~KeeperClient();

  // The caller may move descriptors and strings out of it.
  Inherited& inherited() { return inherited_; }

  // Has the keeper start keepwell-enter with ORDER's descriptors. Returns the id at once; a refusal
  // (too many descriptors, keeper out of processes) comes as on_failed. Descriptors may be closed
  // when this returns.
  SpawnId spawn(const SpawnOrder& order, SpawnHandlers handlers);

  // Has the keeper start a keepwell-enter with a zygote's plan (ExecFds::cgroups_of_clones) and
  // these descriptors; CONTROL is the other end of the socket among them. ON_SERVES is called once
  // it can be asked, ON_ENDED when it has ended, or could not begin. It ends with this agent.
  SpawnId start_zygote(std::vector<int> fds, int control, std::function<void()> on_serves,
                       std::function<void(Error)> on_ended);
  // What it was asked before is still made.
  void end_zygote(SpawnId id);

  // Takes over a process that no spawn made: a container's first process, re-parented to the keeper
  // when `runc create` ended (it may have exited since: then on_started, with no pidfd, is followed
  // by on_exited), or one adopted from a keeper that died (its exit is then known only if the
  // kernel tells). on_failed with Errc::not_found: no such process. START_TICKS is field 22 of
  // /proc/PID/stat.
  struct ClaimOrder {
    pid_t pid = 0;
    std::uint64_t start_ticks = 0;
    bool durable = true;
    std::string kill_cgroup{};
    std::string key{};
  };
  SpawnId claim(const ClaimOrder& order, SpawnHandlers handlers);

  // Sets who is told about the exit of an inherited child. An exit that came before waits for this.
  void watch(SpawnId id, std::function<void(const ExitRecord&)> on_exited);

  // The exit of durable ID has been stored: the keeper forgets it.
  void ack(SpawnId id);

  // Has the keeper hold a copy of FD under NAME (at most 1024 bytes; replaces one of that name) for
  // the next agents and, if FOR_LOGGER, give it to the logger with BLOB (logger/stream_blob.h; at
  // most 16 KiB).
  void keep_fd(std::string_view name, int fd, std::string_view blob, bool for_logger,
               std::function<void(Status)> on_kept = {});

  // Ends that. A log stream is first drained by the logger: ON_DROPPED comes when every byte that
  // was in it is in the log file. Errc::not_found if there is no such name.
  void drop_fd(std::string_view name, std::function<void(Status)> on_dropped = {});

  // A copy of the kept descriptor.
  void fetch_fd(std::string_view name, std::function<void(Result<UniqueFd>)> on_fetched);

  // Tells the keeper that this agent supervises: from now on its death is answered by a new agent.
  void ready();

  // Announces a requested end: when this process exits, the keeper lets the logger finish and ends
  // with EXIT_CODE. Sent when this returns.
  void stopping(int exit_code);

  // Has the keeper re-execute itself from PATHS and start the logger anew; children, descriptors
  // and exits stay. ON_UPGRADED comes from the new keeper, or with an error from the old one, which
  // goes on.
  void upgrade(const UpgradePaths& paths, std::function<void(Status)> on_upgraded);

  // Announces that this agent exits to be replaced at once. Sent when this returns.
  void respawn();

  void stats(std::function<void(Result<KeeperStats>)> on_stats);

 private:
  struct Questions;  // what the keeper still has to answer
  KeeperClient(Loop& loop, UniqueFd control, Handlers handlers);
  Status receive_hello();
  Status start();
  void receive();
  void dispatch(wire::Datagram& message);
  void on_started(SpawnId id, pid_t pid, wire::Datagram& message);
  void on_failed(SpawnId id, Error error);
  void on_exited(wire::Datagram& message);
  void on_answer(wire::Datagram& message);
  void on_child(wire::Datagram& message);
  SpawnId next_id();
  void send(std::string message, std::span<const int> fds = {});
  void send_now(std::string message);
  void lost(Error error);
  void run_later();

  UniqueFd control_;
  Handlers handlers_;
  Inherited inherited_;
  FdWatch watch_;
  Timer later_;  // for callbacks that are due at once
  wire::Outbox outbox_;
  std::uint64_t counter_ = 0;
  std::unique_ptr<Questions> questions_;
  std::shared_ptr<bool> alive_;
};

}  // namespace keepwell
