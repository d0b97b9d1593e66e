// Which OCI runtime to use. A runtime that is installed need not work: Debian's crun refuses hosts
// with hybrid cgroups, others miss privileges. So each candidate is tried for real, with a
// container that is created and deleted without ever running anything, and what it said is kept for
// `keepwell doctor`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runtime/host_command.h"
#include "runtime/oci/runtime_driver.h"

namespace keepwell {

struct RuntimeFinding {
  OciRuntime runtime;  // path empty: not installed
  bool works = false;
  std::string why;  // why not
};

// Absolute path of program NAME on PATH or where distributions hide helpers (/usr/libexec, ...);
// empty: nowhere. A NAME with a slash is taken as it is.
std::string find_program(const std::string& name);

// The same for what belongs to podman and is kept in folders of its own (netavark, aardvark-dns).
std::string find_podman_helper(const std::string& name);

class RuntimeFinder {
 public:
  using RunCommand = std::function<void(const HostCommand&, HostCommands::Done)>;
  using Found = std::function<void(std::vector<RuntimeFinding>)>;

  struct Options {
    std::string setting = "auto";  // auto, a name on PATH, or a path
    std::string work_dir;          // an existing directory of ours for the trial's bundle
    std::string state_root;        // for --root
    std::string cgroups_path;      // for the trial container; empty: the runtime's own choice
    bool all = false;              // try the others too when one works
  };

  // RUN carries out each command; it may do so at once or later.
  RuntimeFinder(RunCommand run, Options options)
      : run_(std::move(run)), options_(std::move(options)) {}

  // Calls ON_FOUND once with all that were tried; the first that works is the one to use.
  // REQUIRES: this object lives until then; ON_FOUND may destroy it.
  void find(Found on_found);

 private:
  void try_next();
  void try_version();
  void try_create();
  void deleted(const HostCommandResult& created);
  void verdict(bool works, std::string why);
  Status write_trial_bundle();

  RunCommand run_;
  Options options_;
  Found on_found_;
  std::vector<std::string> candidates_;
  std::vector<RuntimeFinding> findings_;
};

// One line for a person: what was tried and why nothing works.
std::string explain_findings(const std::vector<RuntimeFinding>& findings);

}  // namespace keepwell
