#include "runtime/exec_leaves.h"

#include <algorithm>
#include <utility>

#include "runtime/loop.h"

namespace keepwell {
namespace {

constexpr std::size_t kSpareMax = 8;
constexpr Duration kSweepAfter = std::chrono::milliseconds(500);  // doubling up to
constexpr Duration kSweepAfterMax = std::chrono::seconds(30);

bool empty(const ExecLeaf& leaf) {
  const Result<CgroupLeaf::Inside> inside = leaf.cgroup.inside();
  return inside && !inside->populated && inside->zombies == 0;
}

}  // namespace

ExecLeaves::ExecLeaves(Loop& loop, const CgroupRoot& root, std::string id,
                       const std::vector<UniqueFd>& payload)
    : root_(root), id_(std::move(id)), payload_(payload), sweeper_(loop) {
  prefix_ = "payload/exec-" + std::to_string(Loop::now().mono.time_since_epoch().count()) + "-";
}

Result<std::unique_ptr<ExecLeaf>> ExecLeaves::take() {
  while (!spare_.empty()) {
    std::unique_ptr<ExecLeaf> leaf = std::move(spare_.back());
    spare_.pop_back();
    if (empty(*leaf)) return leaf;
    give_back(std::move(leaf));  // something of the container's own moved in
  }
  Result<CgroupLeaf> made = CgroupLeaf::create(root_, id_, prefix_ + std::to_string(next_++), {});
  if (!made) return fail(made.error());
  std::vector<int> join = made->join_fds(payload_);
  return std::make_unique<ExecLeaf>(ExecLeaf{std::move(*made), std::move(join)});
}

void ExecLeaves::give_back(std::unique_ptr<ExecLeaf> leaf) {
  if (!empty(*leaf)) {
    busy_.push_back(std::move(leaf));
    sweep_later(kSweepAfter);
  } else if (spare_.size() < kSpareMax) {
    spare_.push_back(std::move(leaf));
  } else if (const Result<bool> gone = leaf->cgroup.try_remove(); !gone || !*gone) {
    busy_.push_back(std::move(leaf));
    sweep_later(kSweepAfter);
  }
}

void ExecLeaves::sweep() {
  std::erase_if(busy_, [](const std::unique_ptr<ExecLeaf>& leaf) {
    const Result<bool> gone = leaf->cgroup.try_remove();
    return gone && *gone;
  });
}

// What is left behind may take a while to die, and no other session may come after it.
void ExecLeaves::sweep_later(Duration wait) {
  sweeper_.start_after(wait, [this, wait] {
    sweep();
    if (!busy_.empty()) sweep_later(std::min(wait * 2, kSweepAfterMax));
  });
}

}  // namespace keepwell
