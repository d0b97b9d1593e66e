// Runs a program on the host and waits for it: for the command line, which has no keeper and
// nothing else to do meanwhile. (The agent uses runtime/host_command.h.)
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/result.h"
#include "config/time.h"

namespace keepwell {

struct ToolOrder {
  std::vector<std::string> argv;   // argv[0] is a path
  std::size_t output_max = 16384;  // what is kept of either stream; the rest is read and dropped
  Duration timeout{0};             // 0: as long as it takes
  std::function<Status(int pid)> on_tick =
      {};  // about five times a second; an Error ends the program
};

struct ToolResult {
  bool started = false;    // else `errors` says why not
  bool timed_out = false;  // it was killed
  Status stopped;          // the Error of on_tick, after which it was killed
  int status = 128;        // exit code, or 128 + signal
  std::string output, errors;

  bool ok() const { return started && !timed_out && stopped && status == 0; }
};

// The program's standard input is empty. It belongs to this process's group, so that a terminal's
// signals reach both. What it leaves running keeps nobody waiting.
ToolResult run_tool(const ToolOrder& order);

// The path of the program NAME on PATH or in the places of system programs; Errc::not_found, saying
// which Debian package has it.
Result<std::string> find_tool(const std::string& name);

// Bytes that process PID has written so far; 0 if that cannot be told.
std::uint64_t bytes_written(int pid);

}  // namespace keepwell
