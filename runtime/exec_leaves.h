// The cgroups in which a container's exec sessions run, one each, below the container's own, so
// that a session can be killed with all that it started. One that was left empty is used again:
// making, opening and removing it costs more than all else that the agent does for a session. One
// in which something goes on waits until that has ended. Private to the engine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/result.h"
#include "config/time.h"
#include "runtime/cgroup.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class Loop;

struct ExecLeaf {
  CgroupLeaf cgroup;
  std::vector<int> join;  // what a session joins: the leaf, and the payload's other hierarchies
};

class ExecLeaves {
 public:
  // For one run of container ID. PAYLOAD: of open_payload_cgroups(). REQUIRES: the root outlives
  // this object, and PAYLOAD the last take().
  ExecLeaves(Loop& loop, const CgroupRoot& root, std::string id,
             const std::vector<UniqueFd>& payload);
  ExecLeaves(const ExecLeaves&) = delete;
  ExecLeaves& operator=(const ExecLeaves&) = delete;

  Result<std::unique_ptr<ExecLeaf>> take();

  // The session is over, or has forgotten its process.
  void give_back(std::unique_ptr<ExecLeaf> leaf);

 private:
  void sweep();
  void sweep_later(Duration wait);

  const CgroupRoot& root_;
  std::string id_;
  const std::vector<UniqueFd>& payload_;
  std::string prefix_;  // no other agent's leaf, left with something in it, has its like
  std::vector<std::unique_ptr<ExecLeaf>> spare_;
  std::vector<std::unique_ptr<ExecLeaf>> busy_;  // given back with something in them
  int next_ = 1;
  Timer sweeper_;
};

}  // namespace keepwell
