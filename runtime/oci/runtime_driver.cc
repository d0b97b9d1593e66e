#include "runtime/oci/runtime_driver.h"

#include <nlohmann/json.hpp>
#include <sstream>

namespace keepwell {

namespace {

std::vector<std::string> begin(const OciRuntime& runtime, std::string_view log_file) {
  std::vector<std::string> argv{runtime.path, "--root", runtime.state_root};
  if (!log_file.empty())
    argv.insert(argv.end(), {"--log", std::string(log_file), "--log-format", "json"});
  return argv;
}

}  // namespace

std::vector<std::string> runtime_create_argv(const OciRuntime& runtime,
                                             const RuntimeCreate& create) {
  std::vector<std::string> argv = begin(runtime, create.log_file);
  argv.insert(argv.end(), {"create", "--bundle", create.bundle, "--pid-file", create.pid_file});
  if (!create.console_socket.empty())
    argv.insert(argv.end(), {"--console-socket", create.console_socket});
  argv.push_back(create.id);
  return argv;
}

std::vector<std::string> runtime_start_argv(const OciRuntime& runtime, std::string_view id,
                                            std::string_view log_file) {
  std::vector<std::string> argv = begin(runtime, log_file);
  argv.insert(argv.end(), {"start", std::string(id)});
  return argv;
}

std::vector<std::string> runtime_delete_argv(const OciRuntime& runtime, std::string_view id) {
  std::vector<std::string> argv = begin(runtime, "");
  argv.insert(argv.end(), {"delete", "--force", std::string(id)});
  return argv;
}

std::vector<std::string> runtime_exec_argv(const OciRuntime& runtime, std::string_view id,
                                           const RuntimeExecFiles& files) {
  std::vector<std::string> argv = begin(runtime, files.log_file);
  argv.insert(argv.end(), {"exec", "--process", files.process_file, "--pid-file", files.pid_file,
                           std::string(id)});
  return argv;
}

std::string runtime_keyring(const OciRuntime& runtime, std::string_view id) {
  if (runtime.name == "crun") return std::string(id);
  if (runtime.name == "runc") return "_ses." + std::string(id);
  return {};
}

std::string runtime_complaint(std::string_view log_text, std::string_view output) {
  std::string found;
  std::istringstream lines{std::string(log_text)};
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json entry = nlohmann::json::parse(line, nullptr, false);
    if (!entry.is_object() || !entry.contains("msg") || !entry["msg"].is_string()) continue;
    if (entry.value("level", "error") == "error" || entry.value("level", "") == "fatal")
      found = entry["msg"].get<std::string>();
  }
  if (!found.empty()) return found;
  while (!output.empty() && (output.back() == '\n' || output.back() == ' '))
    output.remove_suffix(1);
  return std::string(
      output.substr(output.rfind('\n') == std::string_view::npos ? 0 : output.rfind('\n') + 1));
}

int start_failure_code(std::string_view text) {
  auto says = [&](std::string_view what) { return text.find(what) != std::string_view::npos; };
  if (says("executable file not found") || says("no such file or directory") ||
      says("No such file or directory"))
    return 127;
  if (says("permission denied") || says("Permission denied") || says("is a directory") ||
      says("Is a directory") || says("exec format error"))
    return 126;
  return 128;
}

}  // namespace keepwell
