// keepwell-init, the reaper of services with `init: true`, on its way into a container.
#pragma once

#include <string>

#include "config/result.h"

namespace keepwell {

// Puts a copy of it, which nobody may write to, into CONTAINER_DIR, and returns its path. A copy
// for each container: whatever one does to the file that it is given (with CAP_SYS_ADMIN it may
// mount it writable), no other container and no later start runs it. Errc::os where it cannot be
// read or written.
Result<std::string> bring_init(const std::string& container_dir);

}  // namespace keepwell
