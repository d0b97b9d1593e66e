// The steps from a StartOrder to a running OCI container, in a row, with a deadline on each:
//
//   root file system (mounted or copied) -> volumes filled -> networks -> bundle, FIFOs, cgroups
//   -> `create` -> claim its first process -> loopback up, exec plan compiled -> `start`
//
// Any step may fail; then what was made is removed before the failure is reported.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/container_terminal.h"
#include "runtime/engine_context.h"
#include "runtime/exec_plan.h"
#include "runtime/log_streams.h"
#include "runtime/network/network_record.h"
#include "runtime/oci/bundle.h"
#include "runtime/oci/rootfs.h"
#include "runtime/oci/volumes.h"

namespace keepwell {

struct Launched {
  bool ok = false;
  int exit_code = 128;  // of a failure
  std::string error;
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;
  UniqueFd pidfd;
  SpawnId spawn_id = 0;
  std::shared_ptr<const ExecPlanBase> base;
  std::vector<UniqueFd> payload_cgroups;
  UniqueFd terminal;  // master, with tty
};

// Durable key of a container's process at the keeper.
std::string container_key(const ContainerRef& ref);

// Compiles the plan for entering the container of this id, from its bundle. With `exec: runtime` it
// is that of the host, where the runtime's own exec is run.
Result<std::shared_ptr<const ExecPlanBase>> compile_container_plan(EngineContext& context,
                                                                   const std::string& id,
                                                                   const ServiceSpec& spec);

class OciStart {
 public:
  // Calls ON_DONE once, from the loop and never from inside begin(); it may destroy this object.
  // The exit of the container's process, once claimed, goes to ON_EXITED, also after this object is
  // gone.
  OciStart(EngineContext& context, const StartOrder& order, std::function<void(Launched)> on_done,
           std::function<void(const ExitRecord&)> on_exited);
  ~OciStart();

  void begin();

  // Makes the start fail as soon as it can.
  void cancel() { cancelled_ = true; }

 private:
  void look_at_sources();
  void prepare();
  void make_rootfs();
  void make_mounts();
  void copy_volumes(std::size_t next);
  void connect();
  Status share_network(const std::string& service);
  EtcNetwork etc_network() const;
  void make_bundle();
  Status write_config(const std::string& rootfs);
  void create();
  void created(const HostCommandResult& result);
  void claimed(UniqueFd pidfd);
  void start();
  void started(const HostCommandResult& result);
  void give_up(int exit_code, std::string error);
  std::string runtime_log();

  EngineContext* context_;
  StartOrder order_;
  std::function<void(Launched)> on_done_;
  std::function<void(const ExitRecord&)> on_exited_;
  const std::string& id_;
  std::string bundle_;
  RootfsPlace place_;
  std::string rootfs_;
  PreparedMounts mounts_;
  const NetworkRecord* network_ = nullptr;  // null: loopback alone, or the host's
  bool joins_ = false;                      // a namespace that was made for it
  LogStreamFds streams_;
  UniqueFd stdin_;
  std::optional<ConsoleSocket> console_;
  Launched launched_;
  bool holds_slot_ = false;
  bool cancelled_ = false;
  std::shared_ptr<bool> alive_;
};

}  // namespace keepwell
