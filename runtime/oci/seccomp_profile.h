// The system calls that a container may make: what Docker's default profile allows, as the
// `linux.seccomp` object of an OCI config. Everything not listed fails with EPERM; clone3 fails
// with ENOSYS, so that libc falls back to clone, whose flags a filter can look at. Capabilities
// open further calls: CAP_SYS_ADMIN mount, CAP_SYS_PTRACE process_vm_readv and so on. Names that
// the installed libseccomp does not know are left out by the runtime.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>

#include "config/result.h"

namespace keepwell {

// CAPABILITIES are the bounding set of the container, with CAP_ in front.
nlohmann::json default_seccomp_profile(const std::set<std::string>& capabilities);

// A profile that the user wrote, in Docker's format (`archMap`, `includes`, `excludes`, ...) or
// OCI's, made into an OCI `linux.seccomp` object for CAPABILITIES. PATH is for the error text.
Result<nlohmann::json> parse_seccomp_profile(const std::string& text, const std::string& path,
                                             const std::set<std::string>& capabilities);

}  // namespace keepwell
