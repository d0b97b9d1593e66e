#include "agent/api/exec_request.h"

#include <array>

#include "agent/api/detach_keys.h"
#include "agent/api/json_body.h"
#include "runtime/passwd.h"

namespace keepwell {
namespace {

using nlohmann::json;

Status read_console(const json& body, int minor, ConsoleSize& console) {
  std::vector<int> size;
  Status read = read_json(body, "ConsoleSize", size);
  if (!read || minor < 42 || size.empty()) return read;
  if (size.size() != 2)
    return fail(Errc::invalid, "invalid JSON: ConsoleSize must be [height, width]");
  console = {size[0], size[1]};
  return {};
}

}  // namespace

Result<ExecSpec> read_exec_create(std::string_view text, int minor) {
  const Result<json> body = parse_json_object(text);
  if (!body) return fail(body.error());
  ExecSpec spec;
  const std::array statuses{read_json(*body, "Cmd", spec.argv),
                            read_json(*body, "Env", spec.env),
                            read_json(*body, "User", spec.user),
                            read_json(*body, "WorkingDir", spec.working_dir),
                            read_json(*body, "DetachKeys", spec.detach_keys),
                            read_json(*body, "Tty", spec.tty),
                            read_json(*body, "Privileged", spec.privileged),
                            read_json(*body, "AttachStdin", spec.attach_stdin),
                            read_json(*body, "AttachStdout", spec.attach_stdout),
                            read_json(*body, "AttachStderr", spec.attach_stderr),
                            read_console(*body, minor, spec.console)};
  for (const Status& status : statuses)
    if (!status) return fail(status.error());
  if (spec.argv.empty()) return fail(Errc::invalid, "No exec command specified");
  Result<std::string> keys = parse_detach_keys(spec.detach_keys);
  if (!keys) return fail(keys.error());
  spec.detach_sequence = std::move(*keys);
  if (!spec.user.empty()) {
    const Status user = check_user_spec(spec.user);
    if (!user) return fail(Errc::invalid, user.error().text);
  }
  return spec;
}

Result<ExecStart> read_exec_start(std::string_view text, int minor) {
  ExecStart start;
  if (text.empty()) return start;
  const Result<json> body = parse_json_object(text);
  if (!body) return fail(body.error());
  const std::array statuses{read_json(*body, "Detach", start.detach),
                            read_json(*body, "Tty", start.tty),
                            read_console(*body, minor, start.console)};
  for (const Status& status : statuses)
    if (!status) return fail(status.error());
  if (!start.tty) start.console = {};
  return start;
}

}  // namespace keepwell
