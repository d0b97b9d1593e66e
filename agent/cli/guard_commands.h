// The commands about restarts that were made, or held back. Each prints results to stdout, errors
// to stderr, and returns the exit code: 0 done, 1 failed, 2 usage.
#pragma once

#include <string>
#include <vector>

#include "agent/cli/client.h"
#include "agent/cli/client_commands.h"

namespace keepwell {

struct WhyCommand {
  AgentPlace place;
  std::string name;
  int last = 1;
  bool all = false;  // incidents without a restart too
  bool json = false;
};
int why_command(const WhyCommand& command);

struct HoldCommand {
  AgentPlace place;
  std::vector<std::string> names;
  std::string length = "1h";  // a duration
  std::string reason;
};
int hold_command(const HoldCommand& command);
int release_command(const NamesCommand& command);

// incidents [show ID]
struct IncidentsCommand {
  AgentPlace place;
  std::string id;  // empty: the list
  bool json = false;
};
int incidents_command(const IncidentsCommand& command);

struct SimulateCommand {
  FileOptions file;
  std::string script;          // a file, or - for standard input; empty: nothing happens
  std::string journal;         // a file or directory; then no script
  std::string length = "10m";  // of a script that names no end
  bool json = false;
  bool quiet = false;  // no probe results
};
// Plays a script, or the journal of a production, into the Supervisor and prints what it does.
int simulate_command(const SimulateCommand& command);

}  // namespace keepwell
