// What the keeper tells the agent on its command line.
#pragma once

#include <string>

#include "runtime/keeper_protocol.h"

namespace keepwell {

struct AgentOptions {
  std::string run_dir;
  std::string data_dir;
  int keeper_fd = wire::kControlFd;  // the SOCK_SEQPACKET pair to the keeper
  int listen_fd = wire::kListenFd;   // the API's listening socket
  std::string exit_code_from;        // RunOptions::exit_code_from
  std::string cgroup_parent;         // RunOptions::cgroup_parent, with a leading slash
};

}  // namespace keepwell
