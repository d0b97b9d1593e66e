// The part of Container that starts a `process` service: a plain command on the host, with a cgroup
// where we may make one, its own session, and the same log streams and exit road as a container.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "runtime/container.h"
#include "runtime/oci/bundle.h"
#include "runtime/proc_info.h"

extern char** environ;

namespace keepwell {

namespace {

struct LimitName {
  const char* name;
  std::uint32_t resource;
};
constexpr LimitName kLimitNames[] = {
    {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},       {"fsize", RLIMIT_FSIZE},       {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
};

// What keepwell itself was told by its own service manager is not for services.
bool private_to_us(std::string_view entry) {
  for (std::string_view prefix : {"KEEPWELL_", "NOTIFY_SOCKET=", "LISTEN_", "WATCHDOG_"})
    if (entry.starts_with(prefix)) return true;
  return entry.find('=') == std::string_view::npos;
}

}  // namespace

std::shared_ptr<const ExecPlanBase> Container::process_base() const {
  const ServiceSpec& spec = *order_.spec;
  auto base = std::make_shared<ExecPlanBase>(host_exec_plan_base());
  base->env.clear();
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    if (!private_to_us(*entry)) base->env.emplace_back(*entry);
  for (const auto& [name, value] : spec.environment) base->env.push_back(name + "=" + value);
  base->cwd = spec.working_dir.empty() ? "/" : spec.working_dir;
  base->no_new_privileges = spec.no_new_privileges;
  if (spec.oom_score_adj) base->oom_score_adj = *spec.oom_score_adj;
  for (const Ulimit& limit : spec.ulimits)
    for (const LimitName& known : kLimitNames)
      if (limit.name == known.name)
        base->rlimits.push_back({.resource = known.resource,
                                 .reserved = 0,
                                 .soft = static_cast<std::uint64_t>(limit.soft),
                                 .hard = static_cast<std::uint64_t>(limit.hard)});
  return base;
}

void Container::launch_process() {
  context_->begin_start([this, alive = alive_, context = context_] {
    context->end_start();
    if (!*alive) return;
    if (Status spawned = spawn_process(); !spawned) start_failed(128, spawned.error().text);
  });
}

Status Container::spawn_process() {
  const ServiceSpec& spec = *order_.spec;
  std::string bundle = context_->bundle_dir(id_);
  for (const std::string& dir : {bundle, context_->container_dir(id_)})
    if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno("cannot make " + dir);
  Result<LogStreamFds> streams = open_log_streams(context_->keeper, log_place(), spec.logging);
  if (!streams) return fail(streams.error());

  run_ = {};
  EnterOrder enter;
  if (context_->cgroups) {
    CgroupLimits limits = container_limits(spec);
    if (Status made = create_container_cgroup(*context_->cgroups, id_, limits); !made) return made;
    Result<CgroupLeaf> leaf =
        CgroupLeaf::create(*context_->cgroups, id_, "payload", limits, CgroupLeaf::Use::service);
    if (!leaf) return fail(leaf.error());
    run_.payload = std::move(*leaf);
    enter.cgroup_procs = run_.payload->join_fds({});
  }
  run_.base = process_base();
  enter.base = run_.base;
  enter.request.argv = spec.argv();
  enter.request.user = spec.user;
  enter.stdio = {context_->null.get(), streams->out.get(), streams->err.get()};
  enter.request.tty = spec.tty;
  UniqueFd tty_ours, tty_theirs, input;
  if (spec.tty) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return fail_errno("cannot make a socket pair");
    tty_ours.reset(ends[0]);
    tty_theirs.reset(ends[1]);
    enter.tty_socket = tty_theirs.get();
  } else if (spec.stdin_open) {
    Result<UniqueFd> opened = open_stdin_stream(bundle);
    if (!opened) return fail(opened.error());
    input = std::move(*opened);
    enter.stdio[0] = input.get();
  }
  enter.durable = true;
  enter.key = container_key(order_.container);

  Result<std::unique_ptr<EnterProcess>> process = EnterProcess::start(
      context_->loop, context_->keeper, enter,
      {.on_running =
           [this, tty = std::make_shared<UniqueFd>(std::move(tty_ours))] {
             if (UniqueFd master = *tty ? receive_descriptor(tty->get()) : UniqueFd(); master)
               keep_terminal(std::move(master));
             run_.process = std::move(starting_process_);
             run_.pid = run_.process->pid();
             run_.spawn_id = run_.process->spawn_id();
             run_.pidfd.reset(fcntl(run_.process->pidfd(), F_DUPFD_CLOEXEC, 3));
             std::optional<ProcStat> stat = read_proc_stat(run_.pid);
             came_up(false, stat ? stat->start_ticks : 0);
           },
       .on_failed =
           [this](const EnterReport& report) {
             context_->later(
                 [process = std::shared_ptr<EnterProcess>(std::move(starting_process_))] {});
             start_failed(report.exit_code, report.text);
           },
       .on_exited = [this](const ExitRecord& record) { exited(record); }});
  if (!process) return fail(process.error());
  starting_process_ = std::move(*process);
  return {};
}

}  // namespace keepwell
