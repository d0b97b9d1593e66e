// keepwell agent: what the keeper starts. An error before it supervises is for whoever ran
// `keepwell run`: one line on stderr, and exit code 1 for the keeper to end with.
#include "agent/agent.h"

#include "agent/cli/commands.h"
#include "agent/cli/files.h"
#include "runtime/loop.h"

namespace keepwell {

int agent_command(const AgentOptions& options) {
  Result<std::unique_ptr<Loop>> loop = Loop::open();
  if (!loop) {
    print_error(loop.error());
    return 1;
  }
  Result<std::unique_ptr<Agent>> agent = Agent::open(**loop, options);
  if (!agent) {
    print_error(agent.error());
    return 1;
  }
  (*agent)->start();
  (*loop)->run();
  int exit_code = (*agent)->exit_code();
  agent->reset();
  (*loop)->close();
  return exit_code;
}

}  // namespace keepwell
