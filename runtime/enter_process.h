// One process that the keeper starts through keepwell-enter: a container's runtime, a probe, an
// exec session, a `process` service. It joins three reports that come by different roads and in any
// order (the keeper's "started", the status pipe that closes at execve, the keeper's "exited") into
// one story:
//
//   on_running, then on_exited      the program ran
//   on_failed                       it did not; nothing of it is left
//
// Destroying the object forgets the process and calls nothing; it does not kill it.
#pragma once

#include <sys/types.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/result.h"
#include "runtime/exec_plan.h"
#include "runtime/fd_watch.h"
#include "runtime/keeper_client.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

struct EnterOrder {
  std::shared_ptr<const ExecPlanBase> base;
  ExecRequest request;
  std::array<int, 3> stdio{-1, -1,
                           -1};  // borrowed, like the others; free to be closed after start()
  int target_pidfd = -1;
  int target_root = -1;
  int tty_socket = -1;
  std::vector<int> cgroup_procs;
  KeptPlan* kept = nullptr;  // borrowed for start(): where the plan is kept for the next order
  // Not 0: the zygote that makes it, with stdio[1] as its output, and knows all else. ZYGOTE_STATUS
  // is its status(). That the program runs is then known only by its end: on_running comes when
  // there is a process, and on_failed may follow.
  SpawnId zygote = 0;
  std::shared_ptr<UniqueFd> zygote_status{};
  bool durable = false;
  std::string kill_cgroup;
  std::string key;
};

class EnterProcess {
 public:
  struct Handlers {
    std::function<void()> on_entered{};  // it is where it was to go; told only if what follows
                                         // (on_running or on_failed) is not there at once
    std::function<void()> on_running;
    std::function<void(const EnterReport&)> on_failed;
    std::function<void(const ExitRecord&)> on_exited;
  };

  // Has it started. Handlers are called from the loop, never from inside this call, and may destroy
  // the object. Fails, with nothing started, where no plan could be made (bad argv or user, no
  // descriptors left).
  static Result<std::unique_ptr<EnterProcess>> start(Loop& loop, KeeperClient& keeper,
                                                     const EnterOrder& order, Handlers handlers);

  EnterProcess(const EnterProcess&) = delete;
  EnterProcess& operator=(const EnterProcess&) = delete;
  ~EnterProcess();

  // By pidfd: never reaches a stranger. Errc::not_found once it has ended, or before the keeper has
  // said "started".
  Status signal(int number) const;

  // SIGKILL to the whole process group, for hosts without cgroups; to the process alone on kernels
  // that cannot.
  void kill_group() const;

  pid_t pid() const { return pid_; }  // 0: not yet known
  int pidfd() const { return pidfd_.get(); }
  SpawnId spawn_id() const { return id_; }
  bool running() const { return running_ && !exited_; }
  // Whether the keeper owes us news: it has not answered the order, or the process has ended and
  // it has not said so.
  bool keeper_is_silent() const;

 private:
  EnterProcess(Loop& loop, KeeperClient& keeper, const EnterOrder& order, Handlers handlers);
  Result<UniqueFd> watch_status();
  void read_status();
  void settle();
  void failed(EnterReport report);

  KeeperClient* keeper_;
  std::shared_ptr<const ExecPlanBase> base_;
  ExecRequest request_;
  Handlers handlers_;
  FdWatch status_watch_;
  UniqueFd status_;
  std::shared_ptr<UniqueFd> zygote_status_;
  std::string status_bytes_;
  bool status_closed_ = false;
  SpawnId id_ = 0;
  pid_t pid_ = 0;
  UniqueFd pidfd_;
  bool durable_;
  bool started_ = false, running_ = false, exited_ = false;
  bool refused_ = false;  // by the keeper
  Error refusal_;
  ExitRecord exit_;
  std::shared_ptr<bool> alive_;
};

}  // namespace keepwell
