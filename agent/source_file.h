// Which files the command line names, how they are loaded, and those that `keepwell run` was given,
// so that a reload without further words reads the same ones again: RUN/state/source.json.
#pragma once

#include <string>
#include <vector>

#include "config/load.h"
#include "config/result.h"

namespace keepwell {

// The file and what chooses among its contents; shared by run, check and reload.
struct FileOptions {
  std::vector<std::string> files;  // later ones override; none: keepwell.yaml, then compose.yaml
  std::string project_name;        // empty: the file's
  std::string project_directory;   // empty: the first file's
  std::vector<std::string> profiles;
  bool lenient = false;  // known but unsupported keys warn instead of failing
};

// Absolute files, or the default one of the working directory, and this process's environment.
// Errc::not_found where no file was named and there is none.
Result<LoadOptions> load_options(const FileOptions& files, const std::string& run_dir,
                                 const std::string& data_dir);

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
