// How a command line is described: what the files that register commands share.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "agent/cli/client.h"

namespace keepwell {

// What every command line may say before or behind the command.
struct Globals {
  AgentPlace place;
  std::string data_dir;
};

using CommandAction = std::function<int()>;

// One command line being described: each add_* registers a command, and sets ACTION when its
// command was the one given.
struct Commands {
  CLI::App& app;
  Globals& globals;
  CommandAction& action;
};

// SHORT_NAME: also -f.
void add_file_options(CLI::App* command, FileOptions& file, bool short_name = true);
// What chooses a project and its parts.
void add_project_options(CLI::App* command, FileOptions& file);
// Where the agent is.
void add_place_options(CLI::App* command, Globals& globals, bool short_file = true);
void add_format_option(CLI::App* command, bool& json);

// why, hold, release, incidents, simulate
void add_guard_commands(const Commands& commands);

}  // namespace keepwell
