// The Engine that does it with real processes: OCI containers through runc or crun, plain commands
// (`process` services), and probes entered natively. Everything is started by the keeper, so what
// runs outlives this object; the next agent makes a new one on what the keeper has kept, and
// adopts.
//
//   auto engine = LinuxEngine::open(loop, keeper, {.run_dir = ..., .on_event = ...});
//   engine->adopt(...) for each stored container; engine->clean_leftovers({their ids});
//   keeper.ready();
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/result.h"
#include "runtime/cgroup.h"
#include "runtime/engine.h"
#include "runtime/pressure.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class Container;
class ContainerFiles;
class EngineContext;
class ExecSession;
class HostHooks;
class KeeperClient;
class Loop;
class ProbeConnection;
class ProbeProcess;
struct ExecSessionOrder;
struct ExecSessionHandlers;
struct InterfaceCounters;
struct LogCounters;
struct NetworkRecord;

struct LinuxEngineOptions {
  std::string run_dir;
  std::string data_dir;
  std::string runtime = "auto";  // ProjectSpec::runtime
  std::string cgroup_parent;     // see open_cgroup_root(); empty: chosen
  // Called from the loop, never from inside an order. When it returns after a ContainerExited, what
  // it says has been stored: the keeper then forgets the exit.
  std::function<void(const EngineEvent&)> on_event;
  std::function<void(const std::string&)> on_warning;  // one sentence for the log
};

class LinuxEngine final : public Engine {
 public:
  // Fails where the directories cannot be made. A host without an OCI runtime or without cgroups is
  // no failure: services that need them fail to start, with the reason. REQUIRES: LOOP and KEEPER
  // outlive the engine. Takes what KEEPER inherited.
  static Result<std::unique_ptr<LinuxEngine>> open(Loop& loop, KeeperClient& keeper,
                                                   LinuxEngineOptions options);
  ~LinuxEngine() override;

  void start(const StartOrder& order) override;
  void adopt(const AdoptOrder& order) override;
  Status signal(const ContainerRef& container, int signal) override;
  void kill(const ContainerRef& container) override;
  void pause(const ContainerRef& container) override;
  void resume(const ContainerRef& container) override;
  void remove(const std::string& id) override;
  void start_probe(const ProbeOrder& order) override;
  void kill_probe(ProbeId probe) override;
  void run_hook(const HookOrder& order) override;

  // Kills and removes what an earlier keepwell left of containers that are not in KNOWN: processes,
  // cgroups, mounts, bundles, FIFOs, layers; and of those in KNOWN that were not adopted, what only
  // a running one has. Call it once, after every adopt().
  void clean_leftovers(const std::set<std::string>& known);

  // Before the program ends with nothing running: calls ON_SETTLED, later, when what containers
  // that have ended leave behind is removed, or cannot be within a few seconds.
  void settle(std::function<void()> on_settled);

  // Then: unmounts what is still mounted, and removes our own cgroup. Blocks for as long as that
  // takes.
  void leave_nothing();

  // ---- what the API shows

  // Live processes of the container; empty where it is not running.
  std::vector<int> pids(const std::string& id) const;
  // Errc::not_found where it has no cgroup (not running, or a host without).
  Result<CgroupStats> stats(const std::string& id) const;
  // Its directory in the v2 cgroup tree; empty where there is none.
  std::string cgroup_dir(const std::string& id) const;
  // Where its log is, with stdout and stderr (CRI lines); older files have .1, .2, ... behind it.
  std::string log_path(const std::string& id) const;
  // What its logger has counted; none where nothing was logged yet.
  std::optional<LogCounters> log_counters(const std::string& id) const;
  // The networks that a running container is on; null: none but loopback, or the host's.
  const NetworkRecord* networks(const std::string& id) const;
  std::string network_namespace(const std::string& id) const;  // its file; empty: none
  // Id of the container whose network it shares; empty: none.
  std::string network_shared_with(const std::string& id) const;
  // By interface; empty where it is not running, has the host's network or none.
  std::map<std::string, InterfaceCounters> network_counters(const std::string& id) const;
  // Addresses that the file gives, by name of network: no other container gets them.
  void reserve_addresses(std::map<std::string, std::set<std::string>> addresses);
  // Those rules of the firewall that containers need and that somebody has removed.
  void put_firewall_rules_back();
  // Which OCI runtime is used: "runc 1.1.5 (/usr/sbin/runc)"; empty while that is not known yet.
  std::string runtime_name() const;

  // The files of an OCI container that does not run: its root file system is mounted where it is
  // not, and stays so for its next start. ROOTFS: the service's. Errc::conflict where nothing can
  // be mounted (yet).
  Result<ContainerFiles> files_at_rest(const std::string& id, const std::string& rootfs);

  // The container's standard input, open for writing, non-blocking; one more each call.
  // Errc::unsupported without stdin_open and tty, Errc::conflict where it is not running.
  Result<UniqueFd> open_stdin(const std::string& id);
  // Of its terminal. Errc::unsupported without tty.
  Status resize(const std::string& id, int rows, int columns);

  // Starts a program in a running container; see exec_session.h.
  Result<std::unique_ptr<ExecSession>> exec(const ExecSessionOrder& order,
                                            ExecSessionHandlers handlers);

 private:
  explicit LinuxEngine(std::unique_ptr<EngineContext> context);
  Container* find(const ContainerRef& ref) const;
  Container& container(const std::string& id);
  template <class Probe>
  void begin_probe(std::map<ProbeId, std::unique_ptr<Probe>>& probes, Container& in,
                   const ProbeOrder& order);
  void end_probes_of(const ContainerRef& ref);
  PressureMark mark_pressure(const std::string& id) const;
  bool adopting(const std::string& key) const;
  std::set<std::string> end_unwanted_children();

  std::unique_ptr<EngineContext> context_;
  Timer settle_timer_;
  Instant settle_until_{};
  std::map<std::string, std::unique_ptr<Container>> containers_;
  std::map<ProbeId, std::unique_ptr<ProbeProcess>> probes_;
  std::map<ProbeId, std::unique_ptr<ProbeConnection>> connections_;
  std::unique_ptr<HostHooks> hooks_;
};

}  // namespace keepwell
