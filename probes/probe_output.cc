#include "probes/probe_output.h"

#include "config/duration.h"
#include "probes/probe_result.h"

namespace keepwell {

std::string capped_output(std::string output, std::uint64_t total) {
  const bool dropped = output.size() > kOutputBytesMax || total > output.size();
  if (output.size() > kOutputBytesMax) output.resize(kOutputBytesMax);
  if (dropped) output += "...";
  return output;
}

std::string timeout_text(Duration timeout, std::string_view output) {
  std::string text = "Health check exceeded timeout (" + format_duration(timeout) + ")";
  if (!output.empty()) text.append(": ").append(output);
  return text;
}

std::string start_guard_text(std::string_view container_id) {
  return "timed out starting health check for container " + std::string(container_id);
}

}  // namespace keepwell
