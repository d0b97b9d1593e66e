// The commands that are clients of a running agent. Each prints results to stdout, errors to
// stderr, and returns the exit code: 0 done, 1 failed, 2 usage.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/cli/client.h"

namespace keepwell {

struct PsCommand {
  AgentPlace place;
  std::vector<std::string> names;
  std::vector<std::string> filters;  // "health=unhealthy"
  bool json = false;
  bool quiet = false;  // ids only
  bool no_trunc = false;
};
int ps_command(const PsCommand& command);

struct NamesCommand {
  AgentPlace place;
  std::vector<std::string> names;
  bool json = false;
};
int inspect_command(const NamesCommand& command);
int health_command(const NamesCommand& command);
int version_command(const NamesCommand& command);

struct LifecycleCommand {
  AgentPlace place;
  std::vector<std::string> names;
  std::string verb;            // start, stop, restart, kill, pause, unpause
  std::optional<int> seconds;  // stop, restart: -t
  std::string signal;          // kill, stop, restart: -s
};
int lifecycle_command(const LifecycleCommand& command);

struct TopCommand {
  AgentPlace place;
  std::string name;  // empty: the checks of all
  std::vector<std::string> ps_arguments;
  bool usage = false;
  bool json = false;
};
int top_command(const TopCommand& command);
// The same with `usage`: of the container `name`, or of all.
int usage_command(const TopCommand& command);

struct LogsCommand {
  AgentPlace place;
  std::string name;
  bool follow = false;
  bool timestamps = false;
  std::string tail = "all";
  std::string since, until;  // RFC 3339, seconds since 1970, or a duration before now
};
int logs_command(const LogsCommand& command);

struct EventsCommand {
  AgentPlace place;
  bool follow = false;
  bool json = false;
  std::string since, until;
  std::vector<std::string> filters;
};
int events_command(const EventsCommand& command);

struct ExecCommand {
  AgentPlace place;
  std::string name;
  std::vector<std::string> argv;
  std::vector<std::string> env;
  std::string user, working_dir, detach_keys;
  bool interactive = false;
  bool tty = false;
  bool detach = false;
  bool privileged = false;
};
// Returns the command's own exit code; 126 and 127 as docker exec; 1 where the container is absent
// or does not run.
int exec_command(const ExecCommand& command);

// {"key": ["value", ...], ...} of "key=value" words, as the API takes it; fails on a word without
// '='.
Result<std::string> filters_json(const std::vector<std::string>& filters);

}  // namespace keepwell
