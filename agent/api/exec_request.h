// The bodies of POST /containers/{id}/exec and POST /exec/{id}/start, read and checked. Pure;
// errors are Errc::invalid, in Docker's words.
#pragma once

#include <string_view>

#include "agent/exec_sessions.h"
#include "config/result.h"

namespace keepwell {

struct ExecStart {
  bool detach = false;
  bool tty = false;  // decides the framing; whether there is a terminal, the create said
  ConsoleSize console;
};

// MINOR: of the API version asked for; fields that came later are not read.
Result<ExecSpec> read_exec_create(std::string_view body, int minor);
// An empty BODY is a start with nothing said.
Result<ExecStart> read_exec_start(std::string_view body, int minor);

}  // namespace keepwell
