#include "runtime/oci/runtime_exec.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/state_file.h"
#include "runtime/unique_fd.h"

namespace keepwell {

Result<RuntimeExec> RuntimeExec::prepare(const OciRuntime& runtime, std::string_view id,
                                         const std::string& bundle_dir, const std::string& name,
                                         const std::vector<std::string>& program) {
  Result<std::string> text = read_small_file(bundle_dir + "/config.json", 4u << 20);
  if (!text) return fail(text.error());
  nlohmann::json config = nlohmann::json::parse(*text, nullptr, false);
  if (!config.is_object() || !config["process"].is_object())
    return fail(Errc::os, "cannot use " + bundle_dir + "/config.json: it has no process");
  nlohmann::json process = config["process"];
  process["args"] = program;
  process["terminal"] = false;

  RuntimeExec made;
  std::string base = bundle_dir + "/exec-" + name;
  made.process_file_ = base + ".json";
  made.pid_file_ = base + ".pid";
  made.log_file_ = base + ".log";
  unlink((bundle_dir + "/.exec-" + name + ".pid").c_str());  // of a killed runc
  std::ofstream out(made.process_file_, std::ios::trunc);
  out << process.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  out.close();
  if (!out) return fail(Errc::os, "cannot write " + made.process_file_);
  made.argv_ = runtime_exec_argv(
      runtime, id,
      {.process_file = made.process_file_, .pid_file = made.pid_file_, .log_file = made.log_file_});
  return made;
}

void RuntimeExec::kill(const std::vector<int>& alive) const {
  Result<std::string> text = read_small_file(pid_file_, 64);
  pid_t pid = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), pid);
  if (pid <= 0) return;
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd || std::find(alive.begin(), alive.end(), pid) == alive.end()) return;
  syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
}

std::string RuntimeExec::finish() const {
  Result<std::string> log = read_small_file(log_file_, 1u << 20);
  for (const std::string* file : {&process_file_, &pid_file_, &log_file_}) unlink(file->c_str());
  return log ? runtime_complaint(*log, "") : std::string();
}

}  // namespace keepwell
