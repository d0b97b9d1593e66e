// keepwell upgrade: the running keeper and agent give way to the programs beside this one, while
// the services run on.
#pragma once

#include "agent/cli/client.h"

namespace keepwell {

// Returns the exit code: 0 when the new agent answers.
int upgrade_command(const AgentPlace& place);

}  // namespace keepwell
