// The commands that work without a running agent, and the agent itself: what cli_main (cli.h) calls
// once it has parsed their options. Each prints what it has to say (results to stdout, errors to
// stderr) and returns the exit code: 0 done, 1 failed, 2 usage or bad config.
#pragma once

#include <string>

#include "agent/agent_options.h"
#include "agent/source_file.h"

namespace keepwell {

struct RunOptions {
  FileOptions file;
  std::string run_dir;   // empty: x-keepwell.run_dir
  std::string data_dir;  // empty: x-keepwell.data_dir
  // A service: when it has ended for good everything is stopped, and keepwell ends with its code.
  std::string exit_code_from;
  // As docker run's: "keepwell.slice/keepwell-containers.service". Empty: chosen, see
  // open_cgroup_root().
  std::string cgroup_parent;
};

// Checks the file, prepares run and data directory, takes the lock and the API socket, stores the
// accepted config and becomes keepwell-keeper. Returns only on failure.
int run_command(const RunOptions& options);

struct CheckOptions {
  FileOptions file;
  bool print = false;  // the effective configuration as JSON on stdout
};

// Prints every diagnostic of the file.
int check_command(const CheckOptions& options);

struct DoctorOptions {
  std::string run_dir;   // empty: the default
  std::string data_dir;  // empty: the default
  bool json = false;     // one object a line
};

// Says what this host can do for keepwell, and why not.
int doctor_command(const DoctorOptions& options);

// `keepwell agent`, started by the keeper only (hidden from --help): restores what was
// stored and supervises until it is told to stop.
int agent_command(const AgentOptions& options);

}  // namespace keepwell
