// Tells when the kernel has killed a process of a container for want of memory. cgroup v2 changes
// memory.events, v1 writes to an eventfd that was registered for it; in both cases the count of
// kills is what is believed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "runtime/cgroup.h"
#include "runtime/fd_watch.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class OomWatch {
 public:
  // Watches nothing yet. REQUIRES: LOOP outlives the watch.
  explicit OomWatch(Loop& loop) : watch_(loop), settle_(loop) {}

  // Watches container ID below ROOT; ON_OOM is called from the loop, once for any number of kills
  // that come together. Fails where there is no memory controller. REQUIRES: ROOT outlives the
  // watch.
  Status start(const CgroupRoot& root, const std::string& id, std::function<void()> on_oom);

  void stop();

 private:
  Status open_v1(const std::string& directory);
  void look();

  FdWatch watch_;
  Timer settle_;
  UniqueFd fd_;           // memory.events, or the eventfd
  UniqueFd oom_control_;  // v1: stays open, it is what was registered
  bool eventfd_ = false;
  const CgroupRoot* root_ = nullptr;
  std::string id_;
  std::uint64_t kills_ = 0;
  std::function<void()> on_oom_;
};

}  // namespace keepwell
