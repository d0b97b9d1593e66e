// Runs a program on the host (an OCI runtime, cp, umount) as a child of the keeper, with a
// deadline. Its stderr and stdout are captured unless descriptors are given. What runs too long is
// killed with everything that it started in its process group, and then reported; so every command
// ends.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/result.h"
#include "config/time.h"
#include "runtime/enter_process.h"
#include "runtime/output_capture.h"
#include "runtime/timer.h"

namespace keepwell {

// What programs on the host have in common: the agent's own environment, nothing joined.
std::shared_ptr<const ExecPlanBase> host_command_base();

struct HostCommand {
  std::vector<std::string> argv;  // argv[0] is searched on PATH
  std::string cwd = "/";
  int stdin_fd = -1;   // borrowed; -1: /dev/null
  int stdout_fd = -1;  // borrowed; -1: captured
  int stderr_fd = -1;
  std::vector<int> cgroup_procs;
  Duration timeout = std::chrono::seconds(30);
};

struct HostCommandResult {
  bool started = false;    // else `output` says why not
  bool timed_out = false;  // it was killed
  int status = 128;        // exit code, or 128 + signal
  std::string output;      // the first 16 KiB of what was captured

  bool ok() const { return started && !timed_out && status == 0; }
};

class HostCommands {
 public:
  HostCommands(Loop& loop, KeeperClient& keeper);
  ~HostCommands();

  using Done = std::function<void(const HostCommandResult&)>;
  // Calls ON_DONE exactly once, from the loop and never from inside, unless this object is
  // destroyed before.
  void run(const HostCommand& command, Done on_done);

  std::size_t running() const { return runs_.size(); }

 private:
  struct Run;
  void finish(std::uint64_t number, HostCommandResult result);

  Loop* loop_;
  KeeperClient* keeper_;
  std::shared_ptr<const ExecPlanBase> base_;
  UniqueFd null_;
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, std::unique_ptr<Run>> runs_;
};

}  // namespace keepwell
