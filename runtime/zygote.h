// A keepwell-enter that has gone into a container once and clones itself for each probe of one
// check (enter/zygote.cc), which saves a third of a probe's cost. It is a process of its own (some
// 100 KiB of the kernel's memory), so only checks that run often have one, and it is never needed:
// without one, and while it starts, a probe is entered as every other process is. Private to the
// engine.
#pragma once

#include <memory>

#include "runtime/exec_plan.h"
#include "runtime/keeper_client.h"

namespace keepwell {

class Zygote {
 public:
  // Whether what BASE enters can have one: a container
  //   - with a pid namespace, from which it cannot be seen,
  //   - without a user namespace, for whose root each probe's pipes would have to be changed from
  //     outside,
  //   - without CAP_SYS_PTRACE (an exec with more than the container's own capabilities ends its
  //     zygotes, Container::forbid_zygotes()), since until its execve a clone has the memory, and
  //     for some microseconds the descriptors, of its zygote, which whoever traces it could take.
  static bool possible(const ExecPlanBase& base);

  // Starts one. FDS as for an exec by REQUEST, without the statuses, with cgroups_of_clones; all
  // may be closed afterwards.
  static Result<std::unique_ptr<Zygote>> start(KeeperClient& keeper,
                                               std::shared_ptr<const ExecPlanBase> base,
                                               const ExecRequest& request, ExecFds fds);

  // Ends it; what it was asked for before runs on.
  ~Zygote();
  Zygote(const Zygote&) = delete;
  Zygote& operator=(const Zygote&) = delete;

  enum class State { starting, serves, ended };
  State state() const { return state_; }
  bool has_served() const { return has_served_; }
  // A probe that it made has run.
  void made_one() { has_made_ = true; }
  bool has_made() const { return has_made_; }
  SpawnId id() const { return id_; }
  // What its clones say that came to nothing (decode_enter_status()). One that has ended has said
  // it.
  const std::shared_ptr<UniqueFd>& status() const { return status_; }

  // Whether its clones are what an exec by BASE and REQUEST would be.
  bool is_for(const std::shared_ptr<const ExecPlanBase>& base, const ExecRequest& request) const {
    return base == base_ && request == request_;
  }

 private:
  Zygote(KeeperClient& keeper, std::shared_ptr<const ExecPlanBase> base, ExecRequest request);

  KeeperClient* keeper_;
  std::shared_ptr<const ExecPlanBase> base_;
  ExecRequest request_;
  std::shared_ptr<UniqueFd> status_;
  SpawnId id_ = 0;
  State state_ = State::starting;
  bool has_served_ = false, has_made_ = false;
};

}  // namespace keepwell
