#include "runtime/engine_context.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "runtime/oci/bundle.h"
#include "runtime/proc_info.h"
#include "runtime/state_file.h"
#include "runtime/user_namespace.h"

namespace keepwell {

namespace {

// The runtime that an earlier agent of this boot (the run directory goes with it) had tried, and
// what of it must still be so. Trying takes a quarter of a second, in which no container would be
// supervised after the agent's death.
std::string memo_path(const LinuxEngineOptions& options) {
  return options.run_dir + "/runtime/chosen";
}

std::string memo_text(const std::string& setting, const OciRuntime& runtime) {
  struct stat info {};
  if (::stat(runtime.path.c_str(), &info) != 0) return {};
  return setting + "\n" + runtime.path + "\n" + runtime.version + "\n" +
         std::to_string(info.st_ino) + " " + std::to_string(info.st_size) + " " +
         std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec);
}

std::optional<OciRuntime> remembered_runtime(const LinuxEngineOptions& options) {
  std::string path = memo_path(options);
  if (::access(path.c_str(), F_OK) != 0) return std::nullopt;
  StateFileRead memo = read_state_file(path);
  if (!memo.body) return std::nullopt;
  std::istringstream lines(*memo.body);
  OciRuntime runtime;
  std::string setting;
  std::getline(lines, setting);
  std::getline(lines, runtime.path);
  std::getline(lines, runtime.version);
  runtime.name = std::filesystem::path(runtime.path).filename();
  runtime.state_root = options.run_dir + "/runtime/state";
  if (memo_text(options.runtime, runtime) != *memo.body) return std::nullopt;
  return runtime;
}

}  // namespace

EngineContext::EngineContext(Loop& loop_in, KeeperClient& keeper_in, LinuxEngineOptions options_in)
    : loop(loop_in),
      keeper(keeper_in),
      options(std::move(options_in)),
      commands(loop_in, keeper_in),
      networks(loop_in, commands,
               {.run_dir = options.run_dir,
                .rootless = in_own_user_namespace(),
                .on_warning = [this](const std::string& text) { warn(text); }}),
      null(::open("/dev/null", O_RDWR | O_CLOEXEC)),
      root(geteuid() == 0),
      later_timer_(loop_in) {}

Status EngineContext::open() {
  if (!null) return fail(Errc::os, "cannot open /dev/null");
  for (const std::string& dir : {options.run_dir + "/runtime", options.data_dir + "/containers"}) {
    if (Status made = make_private_dir(dir, 0700); !made) return made;
  }
  for (InheritedChild& child : keeper.inherited().children)
    if (child.key.starts_with("container ")) inherited_children[child.key] = std::move(child);
  for (ExitRecord& exit : keeper.inherited().exits)
    if (exit.key.starts_with("container ")) inherited_exits[exit.key] = std::move(exit);
  // Nobody asks for the exit codes of an earlier agent's detached sessions.
  for (const InheritedChild& child : keeper.inherited().children)
    if (child.key.starts_with("exec "))
      keeper.watch(child.id, [this](const ExitRecord& record) { keeper.ack(record.id); });
  for (const ExitRecord& exit : keeper.inherited().exits)
    if (exit.key.starts_with("exec ")) keeper.ack(exit.id);
  if (in_own_user_namespace()) {
    Result<std::unique_ptr<SocketMaker>> maker = SocketMaker::start(loop, keeper);
    if (!maker) return fail(maker.error());
    socket_maker_ = std::move(*maker);
  }
  if (Status opened = networks.open(); !opened) return opened;
  host_capabilities = capability_names(own_status_mask("CapBnd:"));
  own_oom_score_adj = keepwell::own_oom_score_adj();
  rlimit nofile{};
  if (getrlimit(RLIMIT_NOFILE, &nofile) == 0) nofile_hard = nofile.rlim_max;
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  starts_max_ = static_cast<int>(std::clamp(cpus * 2, 2l, 16l));

  Result<CgroupLayout> layout = detect_cgroup_layout();
  Result<CgroupRoot> made = layout
                                ? open_cgroup_root(*layout, options.run_dir, options.cgroup_parent)
                                : Result<CgroupRoot>(fail(layout.error()));
  if (!made) {
    warn(made.error().text +
         "; services run without cgroups: no limits, and a probe is killed by its process group");
    return {};
  }
  cgroups = std::move(*made);
  const CgroupV1Mount* memory = cgroups->layout.find_v1("memory");
  limit_swap = memory == nullptr
                   ? std::filesystem::exists("/proc/swaps")
                   : std::filesystem::exists(memory->mount + "/memory.memsw.limit_in_bytes");
  return {};
}

void EngineContext::later(std::function<void()> fn) {
  later_.push_back(std::move(fn));
  if (!later_timer_.armed()) later_timer_.start_after(Duration{0}, [this] { run_later(); });
}

void EngineContext::run_later() {
  std::vector<std::function<void()>> now = std::exchange(later_, {});
  for (std::function<void()>& fn : now) fn();
}

void EngineContext::when_runtime_known(std::function<void()> fn) {
  if (!runtime && !finder_) runtime = remembered_runtime(options);
  if (runtime || !runtime_problem.empty()) return later(std::move(fn));
  runtime_waiters_.push_back(std::move(fn));
  if (finder_) return;
  finder_ = std::make_unique<RuntimeFinder>(
      [this](const HostCommand& command, HostCommands::Done done) {
        commands.run(command, std::move(done));
      },
      RuntimeFinder::Options{
          .setting = options.runtime,
          .work_dir = options.run_dir + "/runtime",
          .state_root = options.run_dir + "/runtime/state",
          .cgroups_path = cgroups ? cgroups->path + "/runtime-trial" : std::string(),
          .all = false});
  finder_->find([this](std::vector<RuntimeFinding> found) { runtime_found(std::move(found)); });
}

void EngineContext::runtime_found(std::vector<RuntimeFinding> found) {
  findings = std::move(found);
  if (!findings.empty() && findings.back().works) {
    runtime = findings.back().runtime;
    std::string memo = memo_text(options.runtime, *runtime);
    if (!memo.empty()) (void)write_state_file(memo_path(options), memo);
  } else {
    runtime_problem = "cannot find an OCI runtime that works on this host (" +
                      explain_findings(findings) +
                      "); install runc or crun, or set x-keepwell.runtime to a path or to process";
  }
  later([this] { finder_.reset(); });
  for (std::function<void()>& waiter : std::exchange(runtime_waiters_, {}))
    later(std::move(waiter));
}

void EngineContext::begin_start(std::function<void()> fn) {
  if (starts_ >= starts_max_) {
    start_waiters_.push_back(std::move(fn));
    return;
  }
  ++starts_;
  later(std::move(fn));
}

void EngineContext::end_start() {
  if (start_waiters_.empty()) {
    --starts_;
    return;
  }
  later(std::move(start_waiters_.front()));
  start_waiters_.erase(start_waiters_.begin());
}

}  // namespace keepwell
