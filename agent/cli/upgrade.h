// keepwell upgrade: the running keeper and agent give way to the programs beside this one, while
// the services run on.
#pragma once

#include "agent/cli/client.h"

namespace keepwell {

// Returns the exit code: 0 when the new agent answers; 1, with the reason on stderr, where this
// program's companions are missing, the agent refuses (it then goes on as it was), or the new one
// does not answer.
int upgrade_command(const AgentPlace& place);

}  // namespace keepwell
