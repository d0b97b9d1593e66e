// What all containers of one LinuxEngine share: the loop, the keeper, the host's cgroups, the OCI
// runtime once one was found, and where things lie on disk. Private to the engine's own files.
//
//   <run_dir>/<id>/                bundle: config.json, etc/, rootfs/ (mount point), two FIFOs
//   <run_dir>/runtime/             state of the OCI runtime (--root)
//   <data_dir>/containers/<id>/    upper/ and work/ (or copy/), log/
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/result.h"
#include "runtime/cgroup.h"
#include "runtime/host_command.h"
#include "runtime/keeper_client.h"
#include "runtime/linux_engine.h"
#include "runtime/loop.h"
#include "runtime/network/networks.h"
#include "runtime/oci/runtime_finder.h"
#include "runtime/socket_maker.h"
#include "runtime/timer.h"

namespace keepwell {

class EngineContext {
 public:
  EngineContext(Loop& loop_in, KeeperClient& keeper_in, LinuxEngineOptions options_in);

  // Makes the directories, takes over what the keeper holds, finds the cgroups (none is no
  // failure).
  Status open();

  void emit(EngineEvent event) { options.on_event(std::move(event)); }
  void warn(const std::string& text) {
    if (options.on_warning) options.on_warning(text);
  }

  // Calls FN in the next turn of the loop; not at all if this is destroyed before.
  void later(std::function<void()> fn);

  // Calls FN, later, when the search for an OCI runtime is over: `runtime` is then set, or
  // runtime_problem says why not.
  void when_runtime_known(std::function<void()> fn);

  // Calls FN, later, when fewer than a handful of starts are under way; the caller then owes one
  // end_start().
  void begin_start(std::function<void()> fn);
  void end_start();

  std::string bundle_dir(const std::string& id) const { return options.run_dir + "/" + id; }
  std::string container_dir(const std::string& id) const {
    return options.data_dir + "/containers/" + id;
  }

  // What the keeper held of containers when we came, by container_key(); taken out by adopt().
  std::map<std::string, InheritedChild> inherited_children;
  std::map<std::string, ExitRecord> inherited_exits;

  std::function<void(const ContainerRef&)> on_container_exit;  // its probes are to end

  // The container of a service that runs; pidfd -1: none does.
  struct Running {
    std::string id;
    pid_t pid = 0;
    int pidfd = -1;  // borrowed
  };
  std::function<Running(const std::string& project, const std::string& service)> find_running;

  Loop& loop;
  KeeperClient& keeper;
  LinuxEngineOptions options;
  HostCommands commands;
  Networks networks;
  std::optional<CgroupRoot> cgroups;  // none: this host lets us make none
  std::optional<OciRuntime> runtime;
  std::string runtime_problem;
  std::vector<RuntimeFinding> findings;
  UniqueFd null;  // /dev/null
  std::set<std::string> host_capabilities;
  int own_oom_score_adj = 0;
  std::uint64_t nofile_hard = 0;  // our own RLIMIT_NOFILE: more cannot be given
  bool limit_swap = false;
  bool root = false;

 private:
  void run_later();
  void runtime_found(std::vector<RuntimeFinding> found);

  Timer later_timer_;
  std::vector<std::function<void()>> later_;
  std::unique_ptr<SocketMaker> socket_maker_;  // in a user namespace of our own
  std::unique_ptr<RuntimeFinder> finder_;
  std::vector<std::function<void()>> runtime_waiters_;
  std::vector<std::function<void()>> start_waiters_;
  int starts_ = 0;
  int starts_max_ = 4;
};

}  // namespace keepwell
