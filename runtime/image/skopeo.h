// How the image tools are called: with which rights and limits, and what their complaints mean.
#pragma once

#include <string>
#include <vector>

#include "config/result.h"
#include "runtime/tool.h"

namespace keepwell {

// The command line that runs TOOL (skopeo, umoci) with ARGUMENTS so that it dies with this process,
// writes no file larger than FILE_BYTES_MAX, and can neither make devices nor gain rights.
Result<std::vector<std::string>> confined_argv(const std::string& tool,
                                               const std::vector<std::string>& arguments,
                                               std::int64_t file_bytes_max);

// Runs TOOL so, and returns what it prints; its complaint where it fails or takes longer than two
// minutes.
Result<std::string> ask_tool(const std::string& tool, const std::vector<std::string>& arguments);

// skopeo's options that go before its command: the platform, the policy where the host has none, and
// TMP_DIR, so that it writes nothing elsewhere (empty: nothing will be written).
std::vector<std::string> skopeo_options(const std::string& platform, const std::string& tmp_dir);

// What RESULT complains about, in one line and without the tool's own decoration.
std::string tool_complaint(const ToolResult& result);

}  // namespace keepwell
