// Running a program in a container through its runtime's own `exec`, for `exec: runtime`: virtual
// machines and sandboxes (kata, gVisor), whose processes are not where ours could join them. Slower
// than entering natively, and what the program leaves behind is not found; the program itself is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "runtime/oci/runtime_driver.h"

namespace keepwell {

class RuntimeExec {
 public:
  // Writes what the runtime needs to start PROGRAM as the first process of the bundle in BUNDLE_DIR
  // runs: its user, env, limits and cwd. NAME makes the files' names unique.
  static Result<RuntimeExec> prepare(const OciRuntime& runtime, std::string_view id,
                                     const std::string& bundle_dir, const std::string& name,
                                     const std::vector<std::string>& program);

  // The command to run on the host; its exit code is the program's.
  const std::vector<std::string>& argv() const { return argv_; }

  // SIGKILL to the program itself. ALIVE are the container's pids: nothing else is killed.
  void kill(const std::vector<int>& alive) const;

  // After the command has ended: why the program could not be started, or "". Removes the files.
  std::string finish() const;

 private:
  std::string process_file_, pid_file_, log_file_;
  std::vector<std::string> argv_;
};

}  // namespace keepwell
