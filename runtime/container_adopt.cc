// The part of Container that finds out what became of a container while no agent watched. Three
// cases:
//   the keeper is the same     it has the process, or its exit status; nothing was lost
//   the keeper is a new one    the process is claimed by pid, start time and boot id, or by its
//                              cgroup where nobody could note those down; if it has ended, its
//                              status is unknown unless the kernel still tells
//   it had not come to run     what there is of it is killed; the Supervisor starts it again
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "runtime/container.h"
#include "runtime/proc_info.h"
#include "runtime/state_file.h"

namespace keepwell {

namespace {

constexpr Duration kLeavesDie = std::chrono::milliseconds(200);

// Ends what is left of the probes and sessions of an agent that has died (its keeper does that, but
// may have died itself) and removes their cgroups. Returns those of sessions that are still in use,
// by processes that are dying; of probes there are never more than checks.
std::vector<std::string> end_stale_leaves(const CgroupRoot& root, const std::string& id) {
  std::vector<std::string> left;
  std::vector<std::string> mounts{root.layout.unified_mount};
  for (const CgroupV1Mount& mount : root.layout.v1) mounts.push_back(mount.mount);
  for (const std::string& mount : mounts) {
    if (mount.empty()) continue;
    for (const auto& [below, prefix] : {std::pair("", "probe-"), std::pair("/payload", "exec-")}) {
      std::error_code error;
      std::filesystem::directory_iterator it(mount + root.path + "/" + id + below, error);
      for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
        if (!it->path().filename().string().starts_with(prefix)) continue;
        std::ofstream(it->path() / "cgroup.kill") << "1";
        if (rmdir(it->path().c_str()) != 0 && errno == EBUSY && *below) left.push_back(it->path());
      }
    }
  }
  return left;
}

// The first process of a container that had come to run when everybody died, before anybody could
// note down its pid; none if it had not come so far. Whose it is, its cgroup says.
pid_t unrecorded_process(const EngineContext& context, const std::string& id, RuntimeKind kind) {
  if (!context.cgroups) return 0;
  Result<std::vector<int>> pids = container_pids(*context.cgroups, id);
  if (!pids) return 0;
  std::set<int> inside(pids->begin(), pids->end());
  if (kind == RuntimeKind::oci) {
    if (!context.runtime) return 0;
    std::string state = context.runtime->state_root + "/" + id;
    bool created = access((state + "/state.json").c_str(), F_OK) == 0;
    bool waits = access((state + "/exec.fifo").c_str(), F_OK) == 0;  // for its `start`
    Result<std::string> text = read_small_file(context.bundle_dir(id) + "/pid", 64);
    pid_t pid = text ? std::atoi(text->c_str()) : 0;
    return created && !waits && inside.contains(pid) ? pid : 0;
  }
  pid_t first = 0;
  std::uint64_t began = UINT64_MAX;
  for (int pid : inside) {
    std::optional<ProcStat> stat = read_proc_stat(pid);
    if (!stat || inside.contains(stat->parent) || stat->start_ticks >= began) continue;
    first = pid;
    began = stat->start_ticks;
  }
  return first;
}

}  // namespace

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
  if (context_->cgroups) {
    std::vector<std::string> left = end_stale_leaves(*context_->cgroups, id_);
    cgroup_timer_.start_after(kLeavesDie, [left = std::move(left)] {
      for (const std::string& leaf : left) rmdir(leaf.c_str());
    });
  }
  return {};
}

void Container::adopt_stranger(const AdoptOrder& order) {
  if (order.pid == 0) {
    AdoptOrder found = order;
    found.pid = unrecorded_process(*context_, id_, order_.spec->runtime);
    std::optional<ProcStat> stat = read_proc_stat(found.pid);
    if (found.pid == 0 || !stat || order.boot_id != read_boot_id())
      return start_failed(128, "its start was cut short by the end of keepwell");
    found.pid_start_ticks = stat->start_ticks;
    return adopt_stranger(found);
  }
  if (order.boot_id != read_boot_id()) return adopt_gone();
  // Also of one that has ended by now: what it had written is still in its pipes.
  Status logs = adopt_log_streams(context_->keeper, log_place(), order_.spec->logging);
  if (!logs) context_->warn(order_.name + ": " + logs.error().text);
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
