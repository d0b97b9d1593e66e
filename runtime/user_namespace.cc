#include "runtime/user_namespace.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <sstream>

#include "runtime/launch.h"
#include "runtime/oci/runtime_finder.h"
#include "runtime/proc_info.h"
#include "runtime/state_file.h"
#include "runtime/tool.h"
#include "runtime/unique_fd.h"

namespace keepwell {
namespace {

constexpr const char* kMark = "KEEPWELL_ROOTLESS";
constexpr std::size_t kIdFileMax = 4u << 20;
constexpr std::uint64_t kFewestIds = 65536;  // what images count on

std::string holder_path(const std::string& run_dir) { return run_dir + "/user-namespace"; }

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// "PID TICKS" of the process that holds the namespace of RUN_DIR; 0: none does.
pid_t holder_of(const std::string& run_dir) {
  Result<std::string> text = read_small_file(holder_path(run_dir), 64);
  if (!text) return 0;
  std::istringstream words(*text);
  pid_t pid = 0;
  std::uint64_t ticks = 0;
  words >> pid >> ticks;
  std::optional<ProcStat> stat = pid > 0 ? read_proc_stat(pid) : std::nullopt;
  return stat && stat->start_ticks == ticks ? pid : 0;
}

std::vector<std::string> own_arguments() {
  Result<std::string> text = read_small_file("/proc/self/cmdline", 1u << 20);
  std::vector<std::string> words;
  for (std::size_t at = 0; text && at < text->size();) {
    const std::size_t end = text->find('\0', at);
    words.push_back(text->substr(at, end - at));
    if (end == std::string::npos) break;
    at = end + 1;
  }
  return words;
}

std::string user_name() {
  const passwd* entry = getpwuid(getuid());
  return entry != nullptr ? entry->pw_name : "";
}

}  // namespace

DefaultDirs default_dirs() {
  if (geteuid() == 0 && !in_own_user_namespace()) return {"/run/keepwell", "/var/lib/keepwell"};
  const std::string uid = in_own_user_namespace() ? variable(kMark) : std::to_string(geteuid());
  std::string run = variable("XDG_RUNTIME_DIR"), data = variable("XDG_DATA_HOME");
  if (!run.starts_with('/')) {
    run = "/run/user/" + uid;
    // Others may write beside it in /tmp; that it is ours is checked when it is used.
    if (access(run.c_str(), W_OK) != 0) run = "/tmp/keepwell-" + uid;
  }
  if (!data.starts_with('/')) {
    const std::string home = variable("HOME");
    data = home.starts_with('/') ? home + "/.local/share" : run;
  }
  return {run + "/keepwell", data + "/keepwell"};
}

bool in_own_user_namespace() {
  if (variable(kMark).empty()) return false;
  Result<std::string> map = read_small_file("/proc/self/uid_map", 4096);
  if (!map) return false;
  std::istringstream words(*map);
  std::uint64_t inside = 0, outside = 0;
  words >> inside >> outside;
  return words && inside == 0 && outside != 0;
}

std::optional<SubordinateRange> find_subordinate_range(std::string_view text, std::string_view user,
                                                       uid_t uid) {
  const std::string number = std::to_string(uid);
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string_view whose = std::string_view(line).substr(0, first);
    if (whose.empty() || (whose != user && whose != number)) continue;
    SubordinateRange range;
    auto parse = [&](std::size_t from, std::size_t to, std::uint64_t& out) {
      auto [stop, error] = std::from_chars(line.data() + from, line.data() + to, out);
      return error == std::errc{} && stop == line.data() + to;
    };
    if (parse(first + 1, second, range.first) && parse(second + 1, line.size(), range.count)) {
      return range;
    }
  }
  return std::nullopt;
}

std::vector<std::string> user_namespace_obstacles() {
  std::vector<std::string> missing;
  if (find_program("newuidmap").empty() || find_program("newgidmap").empty()) {
    missing.emplace_back("newuidmap and newgidmap are not installed: apt-get install uidmap");
  }
  const std::string user = user_name();
  for (const char* file : {"/etc/subuid", "/etc/subgid"}) {
    Result<std::string> text = read_small_file(file, kIdFileMax);
    std::optional<SubordinateRange> range =
        text ? find_subordinate_range(*text, user, getuid()) : std::nullopt;
    if (range && range->count >= kFewestIds) continue;
    const std::string who = user.empty() ? std::to_string(getuid()) : user;
    const bool group = std::string_view(file).ends_with("gid");
    missing.push_back(std::string(file) + " gives user " + who +
                      (range ? " fewer than 65536 ids" : " no ids") +
                      ": as root, usermod --add-sub" + (group ? "gids" : "uids") +
                      " 100000-165535 " + who + " (or another range that nobody has)");
  }
  Result<std::string> most = read_small_file("/proc/sys/user/max_user_namespaces", 32);
  if (most && std::atoll(most->c_str()) == 0) {
    missing.emplace_back(
        "user namespaces are switched off: as root, sysctl -w "
        "user.max_user_namespaces=15000");
  }
  Result<std::string> clone = read_small_file("/proc/sys/kernel/unprivileged_userns_clone", 32);
  Result<std::string> armor =
      read_small_file("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 32);
  if (clone && std::atoi(clone->c_str()) == 0) {
    missing.emplace_back(
        "user namespaces are root's here: as root, sysctl -w "
        "kernel.unprivileged_userns_clone=1");
  }
  if (armor && std::atoi(armor->c_str()) != 0) {
    missing.emplace_back(
        "AppArmor keeps users from user namespaces: as root, sysctl -w "
        "kernel.apparmor_restrict_unprivileged_userns=0");
  }
  return missing;
}

Error enter_user_namespace(const std::string& run_dir) {
  const std::vector<std::string> missing = user_namespace_obstacles();
  if (!missing.empty()) {
    std::string text = "cannot run containers without root: ";
    for (const std::string& one : missing) text += (&one == &missing.front() ? "" : "; ") + one;
    return {Errc::denied, text + "; or use sudo, or x-keepwell: {runtime: process}"};
  }
  const pid_t holder = holder_of(run_dir);
  const std::string tool = holder != 0 ? "nsenter" : "unshare";
  Result<std::string> program = find_tool(tool);
  if (!program) return program.error();
  std::vector<std::string> argv =
      holder != 0
          ? std::vector<std::string>{tool, "--target=" + std::to_string(holder), "--user",
                                     "--mount", "--wd=" + absolute_path(".")}
          : std::vector<std::string>{tool, "--user", "--map-root-user", "--map-auto", "--mount"};
  argv.emplace_back("--");
  argv.push_back(own_program_path());
  const std::vector<std::string> own = own_arguments();
  if (own.size() > 1) argv.insert(argv.end(), own.begin() + 1, own.end());
  setenv(kMark, std::to_string(getuid()).c_str(), 1);
  return become(*program, argv, {});
}

Status hold_user_namespace(const std::string& run_dir) {
  if (holder_of(run_dir) != 0) return {};
  // No word of anybody's is in this script.
  ToolResult done =
      run_tool({.argv = {"/bin/sh", "-c",
                         "exec 3>&1 </dev/null >/dev/null 2>&1; setsid sleep infinity 3>&- & "
                         "echo $! >&3"},
                .timeout = std::chrono::seconds(10)});
  const pid_t pid = std::atoi(done.output.c_str());
  std::optional<ProcStat> stat = pid > 0 ? read_proc_stat(pid) : std::nullopt;
  if (!done.ok() || !stat)
    return fail(Errc::os, "cannot keep the user namespace open: " + done.errors);
  std::string text = std::to_string(pid) + " " + std::to_string(stat->start_ticks) + "\n";
  UniqueFd file(::open(holder_path(run_dir).c_str(),
                       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file || ::write(file.get(), text.data(), text.size()) != std::ssize(text))
    return fail_errno("cannot write " + holder_path(run_dir));
  return {};
}

void release_user_namespace(const std::string& run_dir) {
  const pid_t pid = holder_of(run_dir);
  UniqueFd pidfd(pid != 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
  // Still that one, now that the descriptor holds it.
  if (pidfd && holder_of(run_dir) == pid) {
    syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
  }
  ::unlink(holder_path(run_dir).c_str());
}

}  // namespace keepwell
