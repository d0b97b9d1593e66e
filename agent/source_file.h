// Which files `keepwell run` was given, so that a reload without further words reads the same ones
// again: RUN/state/source.json.
#pragma once

#include <string>

#include "agent/cli/commands.h"
#include "config/result.h"

namespace keepwell {

// What a reload needs to load as `run` did.
struct ConfigSource {
  FileOptions file;      // files and directories absolute
  std::string run_dir;   // from the command line; empty: the file's
  std::string data_dir;  // from the command line; empty: the file's
};

Status save_source(const std::string& run_dir, const ConfigSource& source);

// Errc::not_found where `run` left none.
Result<ConfigSource> load_source(const std::string& run_dir);

}  // namespace keepwell
