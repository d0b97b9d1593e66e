// keepwell probe, pause-check and resume-check.
#pragma once

#include <string>

#include "agent/cli/client.h"

namespace keepwell {

struct CheckCommand {
  AgentPlace place;
  std::string name;   // of a service, container, or an id prefix; a service: all its containers
  std::string check;  // probe: empty is all of them
  bool json = false;
};

// Runs the checks now and prints what they found: 0 when all passed, 1 when one did not or could
// not be run.
int probe_command(const CheckCommand& command);

int pause_check_command(const CheckCommand& command);
int resume_check_command(const CheckCommand& command);

}  // namespace keepwell
