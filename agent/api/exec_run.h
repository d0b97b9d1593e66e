// Runs an exec session: hands it to the engine, joins its input and output with the connection, and
// tells what became of it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "agent/api/exec_request.h"
#include "agent/api/router.h"
#include "agent/exec_sessions.h"

namespace keepwell {

// Starts EXEC, which nobody has started, and answers CALL: attached (the connection is hijacked and
// the session ends with its client) or detached.
void run_exec(const ApiCall& call, const std::shared_ptr<Exec>& exec, const ExecStart& start);

// An event of EXEC. ACTION: "exec_create", "exec_start" (the command is put behind), "exec_die"...
void tell_exec(const ApiContext& api, const Exec& exec, std::string action,
               std::vector<std::pair<std::string, std::string>> attributes = {});

}  // namespace keepwell
