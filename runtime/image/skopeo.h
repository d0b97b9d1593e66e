// How the image tools are called: with which rights and limits, and what their complaints mean.
#pragma once

#include <string>
#include <vector>

#include "config/result.h"
#include "runtime/tool.h"

namespace keepwell {

// The command line that runs TOOL (skopeo, umoci) with ARGUMENTS so that it dies with this process,
// writes no file larger than FILE_BYTES_MAX, and can neither gain rights nor, unless DEVICES, make
// device nodes.
Result<std::vector<std::string>> confined_argv(const std::string& tool,
                                               const std::vector<std::string>& arguments,
                                               std::int64_t file_bytes_max, bool devices = false);

// Runs TOOL so, and returns what it prints; its complaint where it fails or takes longer than
// TIMEOUT (Errc::timed_out).
Result<std::string> ask_tool(const std::string& tool, const std::vector<std::string>& arguments,
                             Duration timeout = std::chrono::minutes(2));

// Whether SOURCE lies in a registry.
bool is_registry(std::string_view source);

// How long a registry may be silent: 30 s, or the seconds in KEEPWELL_REGISTRY_TIMEOUT.
Duration registry_patience();

// OPTION=false (skopeo's --tls-verify, --src-tls-verify) for a registry on this machine's loopback,
// which docker too speaks plain HTTP to; else nothing.
std::vector<std::string> tls_options(std::string_view source, const std::string& option);

// skopeo's options that go before its command: the platform, the policy where the host has none,
// the registries.conf that CONTAINERS_REGISTRIES_CONF names (skopeo 1.9.3 does not look), and
// TMP_DIR, so that it writes nothing elsewhere (empty: nothing will be written).
std::vector<std::string> skopeo_options(const std::string& platform, const std::string& tmp_dir);

// SOURCE, or where it is a gzipped archive of docker save the plain one that is written to TARGET
// for it: skopeo 1.9.3 reads those only in part ("unexpected EOF").
Result<std::string> plain_source(const std::string& source, const std::string& target,
                                 std::int64_t file_bytes_max);

// What RESULT complains about, in one line and without the tool's own decoration.
std::string tool_complaint(const ToolResult& result);

}  // namespace keepwell
