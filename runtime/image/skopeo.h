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

// Runs TOOL so, and returns what it prints; its complaint where it fails or takes longer than two
// minutes.
Result<std::string> ask_tool(const std::string& tool, const std::vector<std::string>& arguments);

// skopeo's options that go before its command: the platform, the policy where the host has none,
// and TMP_DIR, so that it writes nothing elsewhere (empty: nothing will be written).
std::vector<std::string> skopeo_options(const std::string& platform, const std::string& tmp_dir);

// SOURCE, or where it is a gzipped archive of docker save the plain one that is written to TARGET
// for it: skopeo 1.9.3 reads those only in part ("unexpected EOF").
Result<std::string> plain_source(const std::string& source, const std::string& target,
                                 std::int64_t file_bytes_max);

// What RESULT complains about, in one line and without the tool's own decoration.
std::string tool_complaint(const ToolResult& result);

}  // namespace keepwell
