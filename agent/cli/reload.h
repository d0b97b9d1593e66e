// keepwell reload: reads the files again (those of `run`, unless others are named), and hands the
// result to the agent. A bad file changes nothing.
#pragma once

#include "agent/cli/client.h"

namespace keepwell {

struct ReloadOptions {
  AgentPlace place;  // its files, where any are named, are what is read
  bool dry_run = false;
  bool json = false;
};

// Prints what changes, one line each. Exit code 2 for a bad file, 1 where the agent refuses.
int reload_command(const ReloadOptions& options);

}  // namespace keepwell
