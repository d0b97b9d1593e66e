#include "runtime/oci_start.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/container_root.h"
#include "runtime/launch.h"
#include "runtime/netns_socket.h"
#include "runtime/oci/bundle.h"
#include "runtime/oci/init_program.h"
#include "runtime/passwd.h"
#include "runtime/proc_info.h"
#include "runtime/state_file.h"
#include "runtime/user_namespace.h"

namespace keepwell {

namespace {

constexpr Duration kCreateTimeout = std::chrono::seconds(60);
constexpr Duration kStartTimeout = std::chrono::seconds(30);
constexpr Duration kDeleteTimeout = std::chrono::seconds(20);
constexpr Duration kCopyTimeout = std::chrono::minutes(15);
constexpr Duration kLookTimeout = std::chrono::seconds(10);

// Device nodes below DIRECTORY of the host; what a container's own /dev gets from the runtime is
// left out.
void add_device_nodes(const std::string& directory, const std::string& inside,
                      const std::string& access, std::vector<BundleDevice>& nodes) {
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(directory, error), end; it != end;
       it.increment(error)) {
    if (error) break;
    const std::filesystem::path& path = it->path();
    if (it->is_directory(error) &&
        (path == "/dev/pts" || path == "/dev/shm" || path == "/dev/mqueue" || path == "/dev/fd")) {
      it.disable_recursion_pending();
      continue;
    }
    if (path == "/dev/console" || path == "/dev/ptmx" || path == "/dev/tty") continue;
    if (!it->is_symlink(error) && (it->is_character_file(error) || it->is_block_file(error)))
      nodes.push_back({path, inside + path.string().substr(directory.size()), access});
  }
}

Result<std::vector<BundleDevice>> devices_of(const ServiceSpec& spec) {
  std::vector<BundleDevice> nodes;
  for (const DeviceSpec& device : spec.devices) {
    struct stat found {};
    if (stat(device.source.c_str(), &found) != 0)
      return fail_errno("cannot give device " + device.source + " to the container");
    if (S_ISDIR(found.st_mode))
      add_device_nodes(device.source, device.target, device.permissions, nodes);
    else
      nodes.push_back({device.source, device.target, device.permissions});
  }
  if (!spec.privileged) return nodes;
  std::vector<BundleDevice> all;
  add_device_nodes("/dev", "/dev", "rwm", all);
  for (BundleDevice& node : all) {
    bool given = std::any_of(nodes.begin(), nodes.end(),
                             [&](const BundleDevice& own) { return own.path == node.path; });
    if (!given) nodes.push_back(std::move(node));
  }
  return nodes;
}

}  // namespace

std::string container_key(const ContainerRef& ref) {
  return "container " + ref.id + " " + std::to_string(ref.run);
}

Result<std::shared_ptr<const ExecPlanBase>> compile_container_plan(EngineContext& context,
                                                                   const std::string& id,
                                                                   const ServiceSpec& spec) {
  if (spec.exec == ExecMode::runtime)
    return std::make_shared<const ExecPlanBase>(host_exec_plan_base());
  Result<std::string> text = read_small_file(context.bundle_dir(id) + "/config.json", 4u << 20);
  if (!text) return fail(text.error());
  ExecPlanOptions options;
  if (context.runtime) options.keyring = runtime_keyring(*context.runtime, id);
  options.rootless = !context.root;
  options.inherited_oom_score_adj = context.own_oom_score_adj;
  Result<ExecPlanBase> base = compile_exec_plan_base(*text, options);
  if (!base) return fail(base.error());
  // The file as it is now, as the runtime itself does for the container's first process.
  if (Result<ContainerRoot> root = ContainerRoot::open(base->rootfs);
      root && base->passwd_in_rootfs) {
    UserDatabase users;
    Result<ResolvedUser> user = users.resolve(*root, std::to_string(base->uid));
    if (user) base->home = user->home;
  }
  return std::make_shared<const ExecPlanBase>(std::move(*base));
}

OciStart::OciStart(EngineContext& context, const StartOrder& order,
                   std::function<void(Launched)> on_done,
                   std::function<void(const ExitRecord&)> on_exited)
    : context_(&context),
      order_(order),
      on_done_(std::move(on_done)),
      on_exited_(std::move(on_exited)),
      id_(order_.container.id),
      bundle_(context.bundle_dir(id_)),
      place_{order.spec->rootfs, context.container_dir(id_), bundle_ + "/rootfs",
             order.spec->read_only},
      alive_(std::make_shared<bool>(true)) {}

OciStart::~OciStart() {
  *alive_ = false;
  if (holds_slot_) context_->end_start();
}

void OciStart::begin() {
  std::shared_ptr<bool> alive = alive_;
  context_->begin_start([this, alive, context = context_] {
    if (!*alive) return context->end_start();
    holds_slot_ = true;
    context_->when_runtime_known([this, alive] {
      if (*alive) look_at_sources();
    });
  });
}

// Where a server is gone, whoever looks at what it serves waits for ever: a child finds out.
void OciStart::look_at_sources() {
  HostCommand look;
  look.argv = look_at_sources_argv(*order_.spec, place_.lower);
  look.timeout = kLookTimeout;
  if (look.argv.empty()) return prepare();
  context_->commands.run(look, [this, alive = alive_](const HostCommandResult& result) {
    if (!*alive) return;
    if (!result.timed_out) return prepare();  // which says what is missing
    give_up(128, "cannot start " + order_.name + ": " + silent_sources_text(*order_.spec));
  });
}

void OciStart::prepare() {
  if (!context_->runtime) return give_up(128, context_->runtime_problem);
  struct stat lower {};
  if (order_.spec->rootfs.empty())
    return give_up(
        128, "cannot start " + order_.name + ": it has no root file system; set x-keepwell.rootfs");
  if (stat(place_.lower.c_str(), &lower) != 0)
    return give_up(128, "cannot use rootfs " + place_.lower + ": " + std::strerror(errno));
  if (!S_ISDIR(lower.st_mode))
    return give_up(128, "cannot use rootfs " + place_.lower + ": it is no directory");
  if (mkdir(bundle_.c_str(), 0700) != 0 && errno != EEXIST)
    return give_up(128, "cannot make " + bundle_ + ": " + std::strerror(errno));
  if (access((context_->runtime->state_root + "/" + id_).c_str(), F_OK) != 0) return make_rootfs();

  // An earlier start was cut short.
  HostCommand remove;
  remove.argv = runtime_delete_argv(*context_->runtime, id_);
  remove.timeout = kDeleteTimeout;
  context_->commands.run(remove, [this, alive = alive_](const HostCommandResult&) {
    if (*alive) make_rootfs();
  });
}

void OciStart::make_rootfs() {
  if (mkdir(place_.layer_dir.c_str(), 0700) != 0 && errno != EEXIST)
    return give_up(128, "cannot make " + place_.layer_dir + ": " + std::strerror(errno));
  if (rootfs_copied(place_)) {
    rootfs_ = place_.copy();
    return make_mounts();
  }
  Status mounted = mount_rootfs(place_);
  if (mounted) {
    rootfs_ = place_.mount_point;
    return make_mounts();
  }
  context_->warn(mounted.error().text + "; the tree is copied to " + place_.copy() + " instead");
  HostCommand copy;
  copy.argv = copy_rootfs_argv(place_);
  copy.timeout = kCopyTimeout;
  context_->commands.run(copy, [this, alive = alive_](const HostCommandResult& result) {
    if (!*alive) return;
    if (!result.ok()) return give_up(128, "cannot copy " + place_.lower + ": " + result.output);
    rootfs_ = place_.copy();
    make_mounts();
  });
}

void OciStart::make_mounts() {
  Result<PreparedMounts> prepared =
      prepare_mounts(*order_.spec, {.volumes_dir = context_->options.data_dir + "/volumes",
                                    .files_dir = bundle_ + "/files",
                                    .container_name = order_.name});
  if (!prepared) return give_up(128, prepared.error().text);
  mounts_ = std::move(*prepared);
  copy_volumes(0);
}

// A volume that is empty gets what the root file system has at its place, one after the other.
void OciStart::copy_volumes(std::size_t next) {
  if (next == mounts_.copies.size()) return connect();
  const VolumeCopy& volume = mounts_.copies[next];
  Result<ContainerRoot> root = ContainerRoot::open(rootfs_);
  if (!root) return give_up(128, root.error().text);
  Result<UniqueFd> source = open_copy_source(*root, volume);
  if (!source) return give_up(128, source.error().text);
  if (!*source) return copy_volumes(next + 1);
  HostCommand copy;
  copy.argv = copy_volume_argv(volume);
  copy.stdin_fd = source->get();
  copy.timeout = kCopyTimeout;
  context_->commands.run(copy, [this, next, alive = alive_](const HostCommandResult& result) {
    if (!*alive) return;
    if (!result.ok())
      return give_up(128, "cannot fill the volume " + mounts_.copies[next].volume + ": " +
                              (result.timed_out ? "it took too long" : result.output));
    copy_volumes(next + 1);
  });
}

void OciStart::make_bundle() {
  if (cancelled_)
    return give_up(137, "cannot start " + order_.name + ": it was killed before it ran");
  if (Status written = write_config(rootfs_); !written)
    return give_up(start_failure_code(written.error().text), written.error().text);
  if (context_->cgroups) {
    Status made = create_container_cgroup(*context_->cgroups, id_, container_limits(*order_.spec));
    if (!made) return give_up(128, made.error().text);
  }
  Result<LogStreamFds> streams = open_log_streams(
      context_->keeper,
      {id_, order_.container.run, bundle_, context_->container_dir(id_) + "/log/container.log"},
      order_.spec->logging);
  if (!streams) return give_up(128, streams.error().text);
  streams_ = std::move(*streams);
  if (order_.spec->tty) {
    Result<ConsoleSocket> console = ConsoleSocket::open(bundle_);
    if (!console) return give_up(128, console.error().text);
    console_ = std::move(*console);
  } else if (order_.spec->stdin_open) {
    Result<UniqueFd> opened = open_stdin_stream(bundle_);
    if (!opened) return give_up(128, opened.error().text);
    stdin_ = std::move(*opened);
  }
  create();
}

Status OciStart::write_config(const std::string& rootfs) {
  const ServiceSpec& spec = *order_.spec;
  Result<ContainerRoot> root = ContainerRoot::open(rootfs);
  if (!root) return fail(root.error());
  UserDatabase users;
  Result<ResolvedUser> user = users.resolve(*root, spec.user);
  if (!user) return fail(user.error());

  BundlePlan plan;
  plan.id = id_;
  plan.rootfs = rootfs;
  plan.etc_dir = bundle_ + "/etc";
  if (context_->cgroups) plan.cgroups_path = payload_path(*context_->cgroups, id_);
  plan.no_limits = !context_->cgroups && in_own_user_namespace();
  plan.uid = user->uid;
  plan.gid = user->gid;
  plan.groups = user->groups;
  plan.host_capabilities = context_->host_capabilities;
  plan.own_oom_score_adj = context_->own_oom_score_adj;
  plan.nofile_hard = context_->nofile_hard;
  plan.limit_swap = context_->limit_swap;
  if (spec.init) {
    Result<std::string> init = bring_init(context_->container_dir(id_));
    if (!init) return fail(init.error());
    plan.init = std::move(*init);
  }
  for (const std::string& name : spec.group_add) {
    Result<ResolvedUser> group = users.resolve(*root, "0:" + name);
    if (!group) return fail(group.error());
    if (std::find(plan.groups.begin(), plan.groups.end(), group->gid) == plan.groups.end())
      plan.groups.push_back(group->gid);
  }
  Result<std::vector<BundleDevice>> devices = devices_of(spec);
  if (!devices) return fail(devices.error());
  plan.devices = std::move(*devices);
  plan.mounts = mounts_.mounts;
  plan.v1_memory = context_->cgroups && context_->cgroups->layout.find_v1("memory") != nullptr;
  if (!plan.v1_memory && (spec.mem_swappiness || spec.oom_kill_disable))
    context_->warn(order_.name +
                   ": mem_swappiness and oom_kill_disable have no effect with cgroup v2");
  if (!spec.seccomp.empty() && spec.seccomp != "unconfined") {
    Result<std::string> profile = read_small_file(spec.seccomp, 1u << 20);
    if (!profile) return fail(profile.error().with("cannot use seccomp profile"));
    plan.seccomp_profile = std::move(*profile);
  }
  if (joins_) plan.network_path = context_->networks.namespace_path(id_);
  Status etc = write_etc_files(spec, bundle_hostname(spec, id_), plan.etc_dir, etc_network());
  if (!etc) return etc;
  Result<nlohmann::json> config = bundle_config(spec, plan);
  if (!config) return fail(config.error());
  std::ofstream out(bundle_ + "/config.json", std::ios::trunc);
  out << config->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  out.close();
  if (!out) return fail(Errc::os, "cannot write " + bundle_ + "/config.json");
  return {};
}

void OciStart::create() {
  unlink((bundle_ + "/runtime.log").c_str());
  unlink((bundle_ + "/pid").c_str());
  unlink((bundle_ + "/.pid").c_str());  // of a killed runc, which refuses to begin where it exists
  HostCommand command;
  command.argv =
      runtime_create_argv(*context_->runtime, {.id = id_,
                                               .bundle = bundle_,
                                               .pid_file = bundle_ + "/pid",
                                               .log_file = bundle_ + "/runtime.log",
                                               .console_socket = console_ ? console_->path() : ""});
  command.cwd = bundle_;
  if (!console_) {  // else what it says itself is captured, and the container has its terminal
    command.stdin_fd = stdin_.get();
    command.stdout_fd = streams_.out.get();
    command.stderr_fd = streams_.err.get();
  }
  command.timeout = kCreateTimeout;
  std::vector<UniqueFd> joined;
  if (context_->cgroups) {
    Result<std::vector<UniqueFd>> procs = open_create_cgroups(*context_->cgroups, id_);
    if (!procs) return give_up(128, procs.error().text);
    joined = std::move(*procs);
  }
  for (const UniqueFd& fd : joined) command.cgroup_procs.push_back(fd.get());
  context_->commands.run(command, [this, alive = alive_](const HostCommandResult& result) {
    if (*alive) created(result);
  });
}

void OciStart::created(const HostCommandResult& result) {
  streams_ = {};
  stdin_.reset();
  if (result.timed_out)
    return give_up(128, "cannot start " + order_.name + ": the runtime did not create it in time");
  if (!result.ok()) {
    std::string why = result.started ? runtime_log() : result.output;
    if (why.empty())
      why = context_->runtime->name + " create ended with " + std::to_string(result.status);
    return give_up(start_failure_code(why), "OCI runtime create failed: " + why);
  }
  if (console_) {
    Result<UniqueFd> terminal = console_->take();
    console_.reset();
    if (!terminal) return give_up(128, terminal.error().text);
    launched_.terminal = std::move(*terminal);
  }
  Result<std::string> text = read_small_file(bundle_ + "/pid", 64);
  pid_t pid = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), pid);
  std::optional<ProcStat> stat = pid > 0 ? read_proc_stat(pid) : std::nullopt;
  if (!stat)
    return give_up(128, "cannot start " + order_.name + ": its process is gone before it ran");
  launched_.pid = pid;
  launched_.start_ticks = stat->start_ticks;

  KeeperClient::ClaimOrder claim;
  claim.pid = pid;
  claim.start_ticks = stat->start_ticks;
  claim.key = container_key(order_.container);
  launched_.spawn_id = context_->keeper.claim(
      claim, {.on_started =
                  [this, alive = alive_](pid_t, UniqueFd pidfd) {
                    if (*alive) claimed(std::move(pidfd));
                  },
              .on_failed =
                  [this, alive = alive_](Error error) {
                    if (*alive)
                      give_up(128, error.with("cannot claim the container's process").text);
                  },
              .on_exited = on_exited_});
}

void OciStart::claimed(UniqueFd pidfd) {
  if (!pidfd || cancelled_)
    return give_up(137, "cannot start " + order_.name + ": it was killed before it ran");
  launched_.pidfd = std::move(pidfd);
  if (order_.spec->network_mode != "host") {
    Status up = bring_loopback_up(launched_.pidfd.get());
    if (!up) context_->warn(order_.name + ": " + up.error().text);
  }
  Result<std::shared_ptr<const ExecPlanBase>> base =
      compile_container_plan(*context_, id_, *order_.spec);
  if (!base) return give_up(128, base.error().text);
  launched_.base = std::move(*base);
  if (context_->cgroups) {
    Result<std::vector<UniqueFd>> payload =
        open_payload_cgroups(context_->cgroups->layout, launched_.pid);
    if (!payload) return give_up(128, payload.error().text);
    launched_.payload_cgroups = std::move(*payload);
  }
  start();
}

void OciStart::start() {
  HostCommand command;
  command.argv = runtime_start_argv(*context_->runtime, id_, bundle_ + "/runtime.log");
  command.timeout = kStartTimeout;
  context_->commands.run(command, [this, alive = alive_](const HostCommandResult& result) {
    if (*alive) started(result);
  });
}

void OciStart::started(const HostCommandResult& result) {
  if (!result.ok()) {
    std::string why = result.started ? runtime_log() : result.output;
    if (why.empty()) why = runtime_complaint("", result.output);
    return give_up(start_failure_code(why), "OCI runtime start failed: " + why);
  }
  launched_.ok = true;
  context_->end_start();
  holds_slot_ = false;
  on_done_(std::move(launched_));
}

std::string OciStart::runtime_log() {
  Result<std::string> log = read_small_file(bundle_ + "/runtime.log", 1u << 20);
  return log ? runtime_complaint(*log, "") : std::string();
}

void OciStart::give_up(int exit_code, std::string error) {
  Launched failed;
  failed.exit_code = exit_code;
  failed.error = std::move(error);
  failed.pid = launched_.pid;
  failed.spawn_id = launched_.spawn_id;
  if (holds_slot_) context_->end_start();
  holds_slot_ = false;
  on_done_(std::move(failed));
}

}  // namespace keepwell
