// A table of processes as `ps` prints it, for the pids of a container: read from /proc of the host
// without running anything. It knows -ef (the default of docker top), aux, and -o with the usual
// column names; a user's own choice of anything else is an error that says so.
#pragma once

#include <string>
#include <vector>

#include "config/result.h"
#include "config/time.h"

namespace keepwell {

struct ProcessTable {
  std::vector<std::string> titles;
  std::vector<std::vector<std::string>> rows;  // by pid
};

// ARGUMENTS is what would stand behind `ps`: "-ef", "aux", "-eo pid,user,args", "-o pid -o comm".
// Processes that have ended meanwhile are left out. Errc::invalid for what it does not know, or
// where no pid column is asked for.
Result<ProcessTable> list_processes(const std::vector<int>& pids, const std::string& arguments,
                                    Now now);

}  // namespace keepwell
