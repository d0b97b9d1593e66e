// The part of Container that gives cgroups to its probes and exec sessions.
#include <sys/stat.h>

#include <algorithm>

#include "runtime/container.h"

namespace keepwell {

namespace {

// Removes those that nobody uses and nothing is left in.
void sweep(std::vector<std::shared_ptr<CgroupLeaf>>& abandoned) {
  std::erase_if(abandoned, [](const std::shared_ptr<CgroupLeaf>& old) {
    Result<bool> gone = old->try_remove();
    return gone && *gone;
  });
}

// Puts those hierarchies of FDS by which processes and memory are counted behind the first OWN, the
// leaf's, so that a zygote, which joins what follows, does not count as the container's. Returns
// how many come before that.
std::size_t put_accounting_first(const CgroupLayout& layout, std::vector<int>& fds,
                                 std::size_t own) {
  auto device = [](int fd) {
    struct stat info {};
    return fstat(fd, &info) == 0 ? info.st_dev : 0;
  };
  auto counts = [&](int fd) {
    for (const char* controller : {"memory", "pids"}) {
      const CgroupV1Mount* mount = layout.find_v1(controller);
      struct stat info {};
      if (mount != nullptr && stat(mount->mount.c_str(), &info) == 0 && info.st_dev == device(fd))
        return true;
    }
    return false;
  };
  auto rest =
      std::stable_partition(fds.begin() + static_cast<std::ptrdiff_t>(own), fds.end(), counts);
  return static_cast<std::size_t>(rest - fds.begin());
}

}  // namespace

Result<std::shared_ptr<ProbeLeaf>> Container::take_leaf(const std::string& name) {
  if (!context_->cgroups) return std::shared_ptr<ProbeLeaf>();
  Leaf& leaf = run_.leaves[name];
  if (leaf.taken)
    return fail(Errc::conflict, "cannot start a probe of " + name + ": the last one has not ended");
  std::uint64_t orphans = 0;
  int zygote_failures = 0;
  if (leaf.probe) {
    CgroupLeaf& cgroup = leaf.probe->cgroup;
    zygote_failures = leaf.probe->zygote_failures;
    bool spoiled = false;
    if (cgroup.was_killed() && zygote_failures < kZygoteFailuresMax) {
      spoiled = true;
      ++zygote_failures;
    }
    if (!leaf.clean) {
      Result<CgroupLeaf::Inside> inside = cgroup.inside();
      if (inside && inside->populated) {
        (void)cgroup.kill();
        return fail(Errc::unavailable,
                    "cannot start a probe of " + name + ": the last one cannot be killed");
      }
      if (inside) orphans = static_cast<std::uint64_t>(inside->zombies);
      // Where each probe leaves a zombie, each needs a new leaf, and a zygote would serve nobody.
      if (orphans > 0) zygote_failures = kZygoteFailuresMax;
      spoiled = spoiled || !inside || orphans > 0;
    }
    if (spoiled) {
      Result<bool> gone = cgroup.try_remove();
      if (!gone || !*gone)
        run_.abandoned.push_back(std::make_shared<CgroupLeaf>(std::move(cgroup)));
      leaf.probe.reset();
    }
  }
  if (!leaf.probe) {
    CgroupLimits limits;
    const ProbeLimits& probe = order_.spec->probe_limits;
    // The default is ours: a host that cannot have it is probed all the same.
    const bool asked_for = probe.pids != ProbeLimits{}.pids;
    if (probe.pids > 0 && (asked_for || can_limit(*context_->cgroups, "pids")))
      limits.pids = probe.pids;
    if (probe.memory_bytes > 0) limits.memory_bytes = probe.memory_bytes;
    Result<CgroupLeaf> made = CgroupLeaf::create(*context_->cgroups, id_,
                                                 "probe-" + std::to_string(next_leaf_++), limits);
    if (!made) return fail(made.error());
    std::vector<int> join = made->join_fds(run_.payload_cgroups);
    const std::size_t own =
        put_accounting_first(context_->cgroups->layout, join, made->join_fds({}).size());
    Duration used = made->cpu();
    leaf.probe = std::make_shared<ProbeLeaf>(
        ProbeLeaf{.cgroup = std::move(*made), .join = std::move(join), .cpu = used, .own = own});
    leaf.probe->zygote_failures = zygote_failures;
  }
  leaf.probe->orphans = orphans;
  leaf.clean = true;
  leaf.taken = true;
  return leaf.probe;
}

void Container::release_leaf(const std::string& name, const ProbeLeaf* leaf, bool clean) {
  auto found = run_.leaves.find(name);
  // It may be of an earlier run of the container.
  if (found == run_.leaves.end() || found->second.probe.get() != leaf) return;
  found->second.taken = false;
  found->second.clean = clean;
  sweep(run_.abandoned);
}

void Container::forbid_zygotes() {
  run_.no_zygotes = true;
  end_zygotes();
}

void Container::end_zygotes() {
  for (auto& [name, leaf] : run_.leaves) {
    if (leaf.probe) leaf.probe->zygote.reset();
  }
}

std::shared_ptr<ExecLeaves> Container::exec_leaves() {
  if (!run_.exec_leaves)
    run_.exec_leaves =
        std::make_shared<ExecLeaves>(context_->loop, *context_->cgroups, id_, run_.payload_cgroups);
  return run_.exec_leaves;
}

std::vector<int> Container::join_fds() const {
  if (run_.payload) return run_.payload->join_fds({});
  std::vector<int> fds;
  for (const UniqueFd& procs : run_.payload_cgroups) fds.push_back(procs.get());
  return fds;
}

}  // namespace keepwell
