// What `keepwell run` needs of the operating system before it becomes the keeper: who owns the run
// directory, where our programs are, and the exec itself.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/result.h"
#include "runtime/unique_fd.h"

namespace keepwell {

// The lock of DIR (DIR/NAME, flock), held as long as the descriptor or a copy of it is open
// somewhere. The file says who has it. Errc::conflict, naming the holder, where somebody else does.
Result<UniqueFd> take_lock(const std::string& dir, const std::string& name = "keepwell.lock");

// The lock of an agent's DATA_DIR. An agent dies with its keeper, but a moment later: waits up to
// 5 s for one that does.
Result<UniqueFd> take_agent_lock(const std::string& data_dir);
// The same, waiting until nobody else has it.
Result<UniqueFd> wait_for_lock(const std::string& dir, const std::string& name);

// Where the program NAME that belongs to this one is: beside it, or in ../libexec/keepwell or
// ../lib/keepwell.
Result<std::string> find_own_program(const std::string& name);

// The path of the running program; /proc/self/exe if it cannot be told.
std::string own_program_path();

// Whether the program at PATH may be run with our rights: a regular file at an absolute path,
// executable, that no other user than root and ourselves can change.
Status check_program(const std::string& path);

// Becomes PROGRAM with ARGV and this environment; only descriptors 0 to 2 and INHERITED go along.
// Returns only on failure.
Error become(const std::string& program, const std::vector<std::string>& argv,
             const std::vector<int>& inherited);

std::map<std::string, std::string> process_environment();

// PATH made absolute by the working directory, without ".", ".." or doubled slashes; symbolic links
// are left as they are.
std::string absolute_path(const std::string& path);

bool is_readable_file(const std::string& path);

}  // namespace keepwell
