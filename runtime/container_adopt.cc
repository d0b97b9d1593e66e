// The part of Container that finds out what became of a container while no agent watched. Three
// cases:
//   the keeper is the same     it has the process, or its exit status; nothing was lost
//   the keeper is a new one    the process is claimed by pid, start time and boot id; if it has
//   ended, its status is
//                              unknown unless the kernel still tells
//   it had not come to run     what there is of it is killed; the Supervisor starts it again
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/container.h"
#include "runtime/proc_info.h"
#include "runtime/state_file.h"

namespace keepwell {

void Container::adopt(const AdoptOrder& order) {
  order_ = order.start;
  phase_ = Phase::starting;
  kill_wanted_ = false;
  auto known = [this, order, alive = alive_] {
    if (!*alive) return;
    if (!adopt_inherited(order)) adopt_stranger(order);
  };
  // Cleaning up after it, and its keyring's name, need to know the runtime.
  if (order_.spec->runtime == RuntimeKind::oci)
    context_->when_runtime_known(known);
  else
    context_->later(known);
}

bool Container::adopt_inherited(const AdoptOrder& order) {
  std::string key = container_key(order_.container);
  if (auto found = context_->inherited_exits.find(key); found != context_->inherited_exits.end()) {
    ExitRecord record = std::move(found->second);
    context_->inherited_exits.erase(found);
    bool oom = context_->cgroups && read_oom_kills(*context_->cgroups, id_) > 0;
    phase_ = Phase::cleaning;
    std::shared_ptr<bool> alive = alive_;
    tell_exit(record, oom && was_killed(record));
    if (*alive) clean({});
    return true;
  }
  auto found = context_->inherited_children.find(key);
  if (found == context_->inherited_children.end()) return false;
  InheritedChild child = std::move(found->second);
  context_->inherited_children.erase(found);
  std::string unstarted =
      context_->runtime ? context_->runtime->state_root + "/" + id_ + "/exec.fifo" : "";
  context_->keeper.watch(child.id,
                         [this, alive = alive_, context = context_](const ExitRecord& record) {
                           if (*alive)
                             exited(record);
                           else
                             context->keeper.ack(record.id);
                         });
  if (order_.spec->runtime == RuntimeKind::oci && access(unstarted.c_str(), F_OK) == 0) {
    start_failed(128,
                 "its start was cut short by the end of the agent");  // created, but it never ran
    return true;
  }
  (void)order;
  Status adopted = adopt_running(child.pid, std::move(child.pidfd), child.id);
  if (adopted) came_up(true, child.start_ticks);
  return true;
}

Status Container::adopt_running(pid_t pid, UniqueFd pidfd, SpawnId spawn_id) {
  run_ = {};
  run_.pid = pid;
  run_.pidfd = std::move(pidfd);
  run_.spawn_id = spawn_id;
  if (order_.spec->runtime == RuntimeKind::process) {
    run_.base = process_base();
  } else {
    Result<std::shared_ptr<const ExecPlanBase>> base =
        compile_container_plan(*context_, id_, *order_.spec);
    if (base) {
      run_.base = std::move(*base);
    } else {
      // It runs and is supervised; what cannot be is entered.
      context_->warn(order_.name + ": cannot enter it: " + base.error().text);
    }
  }
  if (context_->cgroups) {
    Result<std::vector<UniqueFd>> payload = open_payload_cgroups(context_->cgroups->layout, pid);
    if (payload) run_.payload_cgroups = std::move(*payload);
  }
  if (order_.spec->tty) {
    context_->keeper.fetch_fd(
        terminal_name(order_.container),
        [this, alive = alive_, ref = order_.container](Result<UniqueFd> master) {
          if (!*alive || !is(ref) || phase_ != Phase::running) return;
          if (master) return start_terminal(std::move(*master));
          context_->warn(order_.name + ": its terminal is gone: " + master.error().text);
        });
  }
  Status logs = adopt_log_streams(context_->keeper, log_place(), order_.spec->logging);
  if (!logs) context_->warn(order_.name + ": " + logs.error().text);
  return {};
}

void Container::adopt_stranger(const AdoptOrder& order) {
  if (order.pid == 0) return start_failed(128, "its start was cut short by the end of keepwell");
  if (order.boot_id != read_boot_id()) return adopt_gone();
  KeeperClient::ClaimOrder claim;
  claim.pid = order.pid;
  claim.start_ticks = order.pid_start_ticks;
  claim.key = container_key(order_.container);
  SpawnId id = context_->keeper.claim(
      claim, {.on_started =
                  [this, alive = alive_, order](pid_t pid, UniqueFd pidfd) {
                    if (!*alive || !pidfd) return;  // without one, its exit comes next
                    std::uint64_t ticks = order.pid_start_ticks;
                    if (adopt_running(pid, std::move(pidfd), run_.spawn_id)) came_up(true, ticks);
                  },
              .on_failed =
                  [this, alive = alive_](Error) {
                    if (*alive) adopt_gone();
                  },
              .on_exited =
                  [this, alive = alive_, context = context_](const ExitRecord& record) {
                    if (!*alive) return context->keeper.ack(record.id);
                    if (phase_ == Phase::starting)
                      phase_ = Phase::running;  // it ended before we had it
                    exited(record);
                  }});
  run_.spawn_id = id;
}

void Container::adopt_gone() {
  Now now = Loop::now();
  ExitRecord nobody_knows;
  nobody_knows.at = now;
  phase_ = Phase::cleaning;
  ContainerRef ref = order_.container;
  // What may be left of it (the rest of a container whose first process is gone) must not meet its
  // next run.
  clean([this, nobody_knows] { tell_exit(nobody_knows, false); });
}

}  // namespace keepwell
