#include "runtime/doctor.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "runtime/cgroup.h"
#include "runtime/oci/rootfs.h"
#include "runtime/oci/runtime_finder.h"
#include "runtime/pressure.h"
#include "runtime/state_file.h"
#include "runtime/tool.h"
#include "runtime/user_namespace.h"

namespace keepwell {

namespace {

using Verdict = DoctorFinding::Verdict;
using Findings = std::vector<DoctorFinding>;

// Without a keeper there is nobody else to run a command: this process waits for it.
HostCommandResult run_here(const HostCommand& command) {
  ToolResult done = run_tool({.argv = command.argv, .timeout = command.timeout});
  return {.started = done.started,
          .timed_out = done.timed_out,
          .status = done.status,
          .output = done.output + done.errors};
}

void examine_runtimes(const DoctorQuestion& question, const std::string& dir, Findings& findings) {
  if (question.runtime == "process") return;
  if (geteuid() != 0) {
    const std::vector<std::string> missing = user_namespace_obstacles();
    for (const std::string& text : missing)
      findings.push_back({"containers without root", Verdict::bad, text});
    if (missing.empty())
      findings.push_back({"containers without root", Verdict::good,
                          "in a user namespace, with the ids of /etc/subuid and /etc/subgid"});
    const bool tun = access("/dev/net/tun", R_OK | W_OK) == 0;
    const bool pasta = !find_program("pasta").empty();
    findings.push_back(
        {"networks without root", tun && pasta ? Verdict::good : Verdict::limited,
         !pasta ? "pasta is not installed: containers reach each other and nothing else (published "
                  "ports work); apt-get install passt"
         : tun  ? "bridges in a namespace of their own, and pasta for the way out"
                : "this user may not open /dev/net/tun: containers reach each other and nothing "
                  "else (published ports work); as root, chmod 666 /dev/net/tun"});
    return;
  }
  std::vector<RuntimeFinding> found;
  RuntimeFinder finder(
      [](const HostCommand& command, const HostCommands::Done& done) { done(run_here(command)); },
      {.setting = question.runtime,
       .work_dir = dir,
       .state_root = dir + "/state",
       .cgroups_path = "",
       .all = true});
  finder.find([&found](std::vector<RuntimeFinding> all) { found = std::move(all); });
  bool any = false;
  for (const RuntimeFinding& one : found) any = any || one.works;
  bool used = false;
  for (const RuntimeFinding& one : found) {
    Verdict verdict = one.works ? Verdict::good : any ? Verdict::limited : Verdict::bad;
    std::string text = one.works ? one.runtime.version + " at " + one.runtime.path : one.why;
    if (one.works) text += used ? " works" : " works and is used";
    used = used || one.works;
    findings.push_back({"OCI runtime " + one.runtime.name, verdict, text});
  }
  if (!any)
    findings.push_back({"OCI containers", Verdict::bad,
                        "no runtime works here; install runc, or use x-keepwell.runtime: process"});
}

void examine_cgroups(Findings& findings) {
  Result<CgroupLayout> layout = detect_cgroup_layout();
  if (!layout) {
    findings.push_back({"cgroups", Verdict::bad, layout.error().text});
    return;
  }
  bool unified = layout->kind == CgroupKind::v2 || layout->kind == CgroupKind::hybrid;
  findings.push_back({"cgroups", unified ? Verdict::good : Verdict::limited, describe(*layout)});
}

void examine_overlay(const DoctorQuestion& question, Findings& findings) {
  // The directory may not exist yet: its nearest existing parent has the same file system.
  std::filesystem::path base = question.data_dir;
  std::error_code error;
  while (!std::filesystem::is_directory(base, error) && base.has_relative_path())
    base = base.parent_path();
  std::string dir = (base / "keepwell-doctor-XXXXXX").string();
  if (geteuid() != 0 || mkdtemp(dir.data()) == nullptr) {
    findings.push_back({"overlay layers", Verdict::limited,
                        "cannot be tried in " + base.string() + " by this user"});
    return;
  }
  std::filesystem::create_directory(dir + "/lower", error);
  Status mounted = mount_rootfs(
      {.lower = dir + "/lower", .layer_dir = dir + "/layer", .mount_point = dir + "/mount"});
  if (mounted)
    findings.push_back({"overlay layers", Verdict::good, "work in " + question.data_dir});
  else
    findings.push_back({"overlay layers", Verdict::limited,
                        mounted.error().text + "; each container gets a copy of its tree instead"});
  (void)unmount_rootfs(dir + "/mount");
  std::filesystem::remove_all(dir, error);
}

void examine_kernel(Findings& findings) {
  utsname name{};
  uname(&name);
  findings.push_back({"kernel", Verdict::good, std::string(name.release) + " " + name.machine});

  UniqueFd self(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!self) {
    findings.push_back({"pidfd", Verdict::bad,
                        "this kernel has no pidfd_open; keepwell needs Linux 5.10 or later"});
    return;
  }
  // struct pidfd_info of Linux 6.13 with the exit code of 6.15; asking for PIDFD_INFO_EXIT about a
  // live process is answered by success without it.
  struct {
    std::uint64_t mask = 1u << 3;  // PIDFD_INFO_EXIT
    std::uint64_t rest[15]{};
  } info;
  bool told = ioctl(self.get(), _IOC(_IOC_READ | _IOC_WRITE, 0xFF, 11, 64), &info) == 0;
  findings.push_back(
      {"exit status after a keeper's death", told ? Verdict::good : Verdict::limited,
       told ? "the kernel tells it (PIDFD_GET_INFO)"
            : "this kernel does not tell it: such an exit is shown as unknown (255)"});

  Result<std::string> noexec = read_small_file("/proc/sys/vm/memfd_noexec", 16);
  bool forbidden = noexec && !noexec->empty() && (*noexec)[0] == '2';
  findings.push_back(
      {"executable memory files", forbidden ? Verdict::limited : Verdict::good,
       forbidden
           ? "forbidden by vm.memfd_noexec=2: keepwell-enter runs from a read-only bind of its file"
           : "allowed: keepwell-enter runs from a sealed copy"});

  Result<std::string> seccomp = read_small_file("/proc/sys/kernel/seccomp/actions_avail", 4096);
  findings.push_back(
      {"seccomp filters", seccomp ? Verdict::good : Verdict::bad,
       seccomp ? "available" : "this kernel has none: set security_opt: [\"seccomp:unconfined\"]"});
  Result<std::string> modules = read_small_file("/sys/kernel/security/lsm", 4096);
  findings.push_back(
      {"security modules", Verdict::good,
       modules && !modules->empty() ? *modules : "none (securityfs is not mounted)"});
}

void examine_pressure(Findings& findings) {
  const bool told = !read_host_pressure().empty();
  findings.push_back(
      {"pressure (PSI)", told ? Verdict::good : Verdict::limited,
       told
           ? "the kernel tells it: pressure_guard can tell a busy host from a hung service"
           : "this kernel does not tell it (CONFIG_PSI, or boot with psi=1): pressure_guard has no "
             "effect"});
}

void examine_tools(Findings& findings) {
  struct Tool {
    const char* name;
    const char* without;
  };
  for (const Tool& tool :
       {Tool{"skopeo", "images cannot be pulled; name a x-keepwell.rootfs"},
        Tool{"umoci", "images cannot be unpacked; name a x-keepwell.rootfs"},
        Tool{"netavark",
             "containers have no network but loopback, or the host's, and services that "
             "name networks or ports do not start; apt-get install netavark"},
        Tool{"iptables", "netavark cannot make its rules; apt-get install iptables"},
        Tool{"aardvark-dns",
             "containers do not find each other by name; apt-get install aardvark-dns"}}) {
    std::string path = find_podman_helper(tool.name);
    findings.push_back({tool.name, path.empty() ? Verdict::limited : Verdict::good,
                        path.empty() ? std::string("not installed: ") + tool.without : path});
  }
}

}  // namespace

std::vector<DoctorFinding> examine_host(const DoctorQuestion& question) {
  Findings findings;
  findings.push_back(
      {"user", geteuid() == 0 ? Verdict::good : Verdict::limited,
       geteuid() == 0
           ? "root"
           : "not root: without limits unless a cgroup is delegated (systemd-run --user -p "
             "Delegate=yes)"});
  examine_kernel(findings);
  examine_cgroups(findings);
  examine_pressure(findings);
  char dir[] = "/tmp/keepwell-doctor-XXXXXX";
  if (mkdtemp(dir) != nullptr) {
    examine_runtimes(question, dir, findings);
    std::error_code ignored;
    std::filesystem::remove_all(dir, ignored);
  }
  examine_overlay(question, findings);
  examine_tools(findings);
  return findings;
}

}  // namespace keepwell
