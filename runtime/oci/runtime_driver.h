// The command lines of an OCI runtime (runc, crun and whatever speaks like them), and what its
// complaints mean. Pure: the engine runs what this says. All containers of one keepwell are under
// one --root in the run directory, so a `runc list` of somebody else does not show them, and none
// of theirs is ever touched.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace keepwell {

struct OciRuntime {
  std::string name;        // "runc", "crun", or the file's own name
  std::string path;        // absolute
  std::string version;     // first line of --version
  std::string state_root;  // for --root
};

struct RuntimeCreate {
  std::string id;
  std::string bundle;
  std::string pid_file;
  std::string log_file;        // JSON lines; read it with runtime_complaint()
  std::string console_socket;  // empty: no terminal
};
std::vector<std::string> runtime_create_argv(const OciRuntime& runtime,
                                             const RuntimeCreate& create);
std::vector<std::string> runtime_start_argv(const OciRuntime& runtime, std::string_view id,
                                            std::string_view log_file);
// Kills what runs, and forgets the container; no error where there is none.
std::vector<std::string> runtime_delete_argv(const OciRuntime& runtime, std::string_view id);
struct RuntimeExecFiles {
  std::string process_file, pid_file, log_file;
};
std::vector<std::string> runtime_exec_argv(const OciRuntime& runtime, std::string_view id,
                                           const RuntimeExecFiles& files);

// Session keyring that the runtime makes for a container, for execs to join.
std::string runtime_keyring(const OciRuntime& runtime, std::string_view id);

// What went wrong: the last error in LOG_TEXT (JSON lines), else the last line of OUTPUT, else "".
std::string runtime_complaint(std::string_view log_text, std::string_view output);

// Docker's exit code for a container or exec that did not start: 127 where something was not found,
// 126 where it could not be executed, else 128.
int start_failure_code(std::string_view text);

}  // namespace keepwell
