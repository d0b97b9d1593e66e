// From the linux.seccomp section of an OCI config to the BPF program that the kernel takes, as runc
// makes it: rules that repeat the default action and calls that this libseccomp does not know are
// left out, and calls newer than all that the profile names return ENOSYS instead of its default
// errno, so that libraries fall back as they do under runc. Then made small (seccomp_compact.h):
// what it costs to attach is most of what seccomp costs a probe.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "config/result.h"
#include "runtime/exec_plan.h"

namespace keepwell {

// SECTION is the JSON object. Errc::invalid where it is malformed, Errc::unsupported for
// SCMP_ACT_NOTIFY.
Result<SeccompProgram> compile_seccomp(const nlohmann::json& section);

}  // namespace keepwell
