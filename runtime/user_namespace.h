// keepwell for an ordinary user. Services with x-keepwell.runtime: process need nothing of this.
// For containers `keepwell run` first goes into a user namespace in which the user is root and has
// the ids of /etc/subuid and /etc/subgid, with mounts of its own (unshare and newuidmap do it), and
// then goes on as root does. A process that only sleeps holds the namespace, since whoever runs
// keepwell again must get into the same one to take up the containers of before; it ends with them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"

namespace keepwell {

// Where run and data directory are if nobody says: /run and /var/lib for root, the user's own
// ($XDG_RUNTIME_DIR, $XDG_DATA_HOME or ~/.local/share) for others.
struct DefaultDirs {
  std::string run_dir, data_dir;
};
DefaultDirs default_dirs();

// Whether this process is in a user namespace that keepwell made: root here, not on the host.
bool in_own_user_namespace();

// The first range of TEXT (/etc/subuid: NAME-OR-UID:FIRST:COUNT) for the user; none: there is none.
struct SubordinateRange {
  std::uint64_t first = 0, count = 0;
};
std::optional<SubordinateRange> find_subordinate_range(std::string_view text, std::string_view user,
                                                       uid_t uid);

// What this host lacks for it, with how to get it; empty: nothing.
std::vector<std::string> user_namespace_obstacles();

// Becomes this very program with the same arguments in the user namespace of RUN_DIR: the one that
// is there, or a new one. Returns only on failure.
Error enter_user_namespace(const std::string& run_dir);

// In there, once the lock of RUN_DIR is held: leaves a process that holds the namespace, if there
// is none.
Status hold_user_namespace(const std::string& run_dir);
// Ends that process. REQUIRES: nothing of RUN_DIR runs any more.
void release_user_namespace(const std::string& run_dir);

}  // namespace keepwell
