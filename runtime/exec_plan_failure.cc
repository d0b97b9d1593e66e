// What a failed entry is called: runc's words and Docker's exit codes, since scripts grep for them.
#include <cctype>
#include <cerrno>
#include <cstring>

#include "runtime/exec_plan.h"

namespace keepwell {
namespace {

// As Go prints an errno: "no such file or directory".
std::string errno_text(int error_number) {
  std::string text = std::strerror(error_number);
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

// Docker's rule, which looks at the text: EACCES and EISDIR are 126, ENOENT is 127, the rest 128.
int exit_code_of(int error_number) {
  if (error_number == EACCES || error_number == EISDIR) return 126;
  return error_number == ENOENT ? 127 : 128;
}

bool short_of_resources(int error_number) {
  return error_number == EAGAIN || error_number == ENOMEM || error_number == EMFILE ||
         error_number == ENFILE || error_number == EDQUOT;
}

// The target's init was ending: setns on a zombie, clone into a dead pid namespace, joining a
// cgroup that was removed.
bool says_container_gone(const EnterFailure& failure) {
  switch (failure.step) {
    case EnterStep::namespaces:
    case EnterStep::user_namespace:
      return failure.error_number == ESRCH;
    case EnterStep::clone:
      return failure.error_number == ENOMEM || failure.error_number == ESRCH;
    case EnterStep::cgroup:
      return failure.error_number == ENODEV;
    default:
      return false;
  }
}

const char* what(EnterStep step) {
  switch (step) {
    case EnterStep::none:
      return "nothing";
    case EnterStep::plan:
      return "read the plan";
    case EnterStep::oom_score_adj:
      return "set oom_score_adj";
    case EnterStep::rlimit:
      return "set resource limits";
    case EnterStep::affinity:
      return "set the CPU affinity";
    case EnterStep::scheduler:
      return "set the scheduler";
    case EnterStep::io_priority:
      return "set the I/O priority";
    case EnterStep::cgroup:
      return "join the cgroup";
    case EnterStep::stdio:
      return "give stdio to the user namespace";
    case EnterStep::label:
      return "set the security label";
    case EnterStep::namespaces:
      return "join the namespaces";
    case EnterStep::user_namespace:
      return "join the user namespace";
    case EnterStep::clone:
      return "start a process";
    case EnterStep::session:
      return "start a session";
    case EnterStep::keyring:
      return "join the session keyring";
    case EnterStep::tty:
      return "open a terminal";
    case EnterStep::user_lookup:
      return "read /etc/passwd or /etc/group";
    case EnterStep::user_unknown:
      return "find the user";
    case EnterStep::group_unknown:
      return "find the group";
    case EnterStep::cwd:
    case EnterStep::cwd_outside:
      return "change to the working directory";
    case EnterStep::umask:
      return "set the umask";
    case EnterStep::personality:
      return "set the personality";
    case EnterStep::no_new_privileges:
      return "set no_new_privs";
    case EnterStep::seccomp:
      return "attach the seccomp filter";
    case EnterStep::close_fds:
      return "close descriptors";
    case EnterStep::capabilities:
      return "set capabilities";
    case EnterStep::groups:
      return "set groups";
    case EnterStep::gid:
      return "set the group id";
    case EnterStep::uid:
      return "set the user id";
    case EnterStep::ambient:
      return "set ambient capabilities";
    case EnterStep::path_lookup:
    case EnterStep::program:
    case EnterStep::exec:
      return "execute the program";
    case EnterStep::parent_gone:
      return "start without its keeper";
  }
  return "do an unknown step";
}

EnterReport program_fault(int exit_code, std::string text) {
  return {EnterBlame::program, exit_code, std::move(text)};
}

std::string group_of(const std::string& user) { return user.substr(user.find(':') + 1); }

}  // namespace

std::optional<EnterFailure> decode_enter_status(std::string_view bytes) {
  if (bytes.empty()) return std::nullopt;
  PlanFailure raw;
  if (bytes.size() != sizeof(raw)) return EnterFailure{EnterStep::plan, EPROTO};
  std::memcpy(&raw, bytes.data(), sizeof(raw));
  if (raw.step == 0 || raw.step > static_cast<std::uint32_t>(EnterStep::parent_gone)) {
    return EnterFailure{EnterStep::plan, EPROTO};
  }
  return EnterFailure{static_cast<EnterStep>(raw.step), raw.error_number};
}

EnterReport explain_enter_failure(const EnterFailure& failure, const ExecPlanBase& base,
                                  const ExecRequest& request) {
  int error_number = failure.error_number;
  std::string reason = errno_text(error_number);
  std::string program = request.argv.empty() ? "" : request.argv[0];
  if (says_container_gone(failure)) {
    return {EnterBlame::container_gone, 128, "cannot enter the container: it is ending"};
  }
  if (failure.step != EnterStep::path_lookup && short_of_resources(error_number)) {
    return {EnterBlame::ours, 128, std::string("cannot ") + what(failure.step) + ": " + reason};
  }
  switch (failure.step) {
    case EnterStep::path_lookup:
      return program_fault(127, "exec: \"" + program + "\": executable file not found in $PATH");
    case EnterStep::program: {
      std::string text = "exec: \"" + program + "\": ";
      if (error_number == EISDIR) return program_fault(126, text + reason + ": permission denied");
      if (error_number == EACCES) return program_fault(126, text + reason);
      return program_fault(exit_code_of(error_number), text + "stat " + program + ": " + reason);
    }
    case EnterStep::exec:
      return program_fault(exit_code_of(error_number), "exec " + program + ": " + reason);
    case EnterStep::cwd:
      return program_fault(exit_code_of(error_number),
                           "chdir to cwd (\"" + (request.cwd.empty() ? base.cwd : request.cwd) +
                               "\") set in config.json failed: " + reason);
    case EnterStep::cwd_outside:
      return program_fault(128,
                           "current working directory is outside of container mount namespace root "
                           "-- possible container breakout attempt detected");
    case EnterStep::user_unknown:
      return program_fault(126, "unable to find user " +
                                    request.user.substr(0, request.user.find(':')) +
                                    ": no matching entries in passwd file");
    case EnterStep::group_unknown:
      return program_fault(126, "unable to find group " + group_of(request.user) +
                                    ": no matching entries in group file");
    case EnterStep::user_lookup:
      return program_fault(126, "cannot look up user " + request.user +
                                    " in the container's /etc/passwd and /etc/group: " + reason +
                                    "; give numbers (uid:gid) instead");
    case EnterStep::tty:
      return program_fault(126, "cannot open a terminal in the container's /dev/pts: " + reason);
    default:
      return {EnterBlame::ours, 128,
              std::string("cannot ") + what(failure.step) + " of an exec: " + reason};
  }
}

}  // namespace keepwell
