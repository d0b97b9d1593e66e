#include "runtime/zygote.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <unistd.h>

#include "runtime/wire_socket.h"

namespace keepwell {

bool Zygote::possible(const ExecPlanBase& base) {
  if ((base.namespaces & CLONE_NEWPID) == 0 || (base.namespaces & CLONE_NEWUSER) != 0) return false;
  return base.capabilities && (base.capabilities->bounding >> CAP_SYS_PTRACE & 1) == 0;
}

Zygote::Zygote(KeeperClient& keeper, std::shared_ptr<const ExecPlanBase> base, ExecRequest request)
    : keeper_(&keeper), base_(std::move(base)), request_(std::move(request)) {}

Result<std::unique_ptr<Zygote>> Zygote::start(KeeperClient& keeper,
                                              std::shared_ptr<const ExecPlanBase> base,
                                              const ExecRequest& request, ExecFds fds) {
  wire::SocketPair control = wire::make_pair();
  if (!control.ours) return fail_errno("cannot make a socket pair");
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return fail_errno("cannot make a status pipe");
  auto read_end = std::make_shared<UniqueFd>(ends[0]);
  UniqueFd write_end(ends[1]);
  fds.status = control.theirs.get();
  fds.clone_status = write_end.get();
  Result<ExecPlan> plan = build_exec_plan(*base, request, fds);
  if (!plan) return fail(plan.error());
  std::unique_ptr<Zygote> made(new Zygote(keeper, std::move(base), request));
  Zygote* self = made.get();
  made->status_ = std::move(read_end);
  made->id_ = keeper.start_zygote(
      plan->fds, control.ours.get(),
      [self] {
        self->state_ = State::serves;
        self->has_served_ = true;
      },
      [self](const Error&) { self->state_ = State::ended; });
  return made;
}

Zygote::~Zygote() { keeper_->end_zygote(id_); }

}  // namespace keepwell
