// The agent's side of port_relay.h: the programs that make the published ports of an ordinary
// user's containers.
//
//   <run_dir>/networks/<id>.ports   the pid of that of container <id>
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/result.h"
#include "runtime/host_command.h"
#include "runtime/network/helper_process.h"
#include "runtime/network/network_record.h"

namespace keepwell {

class PortForwards {
 public:
  // Runs a command in the namespace of the bridges, with this standard input (borrowed).
  using Run = std::function<void(std::vector<std::string> argv, HostCommands::Done, int stdin_fd)>;
  // ON_DEATH is called for one that ends unasked. REQUIRES: LOOP outlives it; RUN calls back at
  // most as long as this object is there.
  PortForwards(Loop& loop, std::string dir, Run run,
               std::function<void(const std::string& id)> on_death);
  ~PortForwards();

  // Starts that of RECORD's container. SOCKETS: of its ports, in order, borrowed. ON_DONE is called
  // once; after a failure there is none.
  void start(const NetworkRecord& record, const std::vector<int>& sockets,
             std::function<void(Status)> on_done);

  // Whether that of container ID serves, be it an earlier agent's.
  bool find(const std::string& id);

  // THEN is called when that of container ID, if there is one, is gone, and its ports are free.
  void end(const std::string& id, std::function<void()> then);

  // Ends those of containers that are not KNOWN.
  void end_others(const std::function<bool(const std::string& id)>& known);

 private:
  struct Start;
  std::string pid_file(const std::string& id) const { return dir_ + "/" + id + ".ports"; }

  Loop* loop_;
  std::string dir_;
  Run run_;
  std::function<void(const std::string&)> on_death_;
  std::map<std::string, std::unique_ptr<HelperProcess>> helpers_;
  std::map<std::string, std::unique_ptr<Start>> starts_;
};

}  // namespace keepwell
