#include "agent/agent.h"

#include <charconv>
#include <csignal>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <utility>

#include "agent/api/api.h"
#include "agent/cli/files.h"
#include "agent/cli/image_resolve.h"
#include "agent/driver.h"
#include "agent/log.h"
#include "agent/mount_facts.h"
#include "agent/source_file.h"
#include "config/diff.h"
#include "config/spec_json.h"
#include "exporters/compose_labels.h"
#include "exporters/metrics_text.h"
#include "runtime/container_files.h"
#include "runtime/host_info.h"
#include "runtime/keeper_client.h"
#include "runtime/launch.h"
#include "runtime/linux_engine.h"
#include "runtime/listener.h"
#include "runtime/loop.h"
#include "runtime/notify.h"
#include "runtime/state_file.h"

namespace keepwell {

namespace {

// After a change of the API's socket (its mode, its name), and where it cannot be watched.
constexpr Duration kSocketLook = std::chrono::milliseconds(200);
constexpr Duration kSocketLookSeldom = std::chrono::seconds(10);

// For the answer to `upgrade` to be on its way before this agent ends.
constexpr Duration kGiveWay = std::chrono::milliseconds(20);

std::uint64_t random_seed() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

VersionFacts version_facts(const HostInfo& host) {
  VersionFacts facts;
  facts.version = KEEPWELL_VERSION;
  facts.arch = host.machine == "x86_64"    ? "amd64"
               : host.machine == "aarch64" ? "arm64"
                                           : host.machine;
  facts.kernel = host.kernel;
  facts.libuv = libuv_version();
  return facts;
}

// What the image says that it listens on: "6379/tcp". Nothing is published.
std::vector<PortFacts> exposed_ports(const ServiceSpec& spec) {
  std::vector<PortFacts> ports;
  for (const std::string& text : spec.exposed_ports) {
    PortFacts port;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, port.container_port);
    if (error != std::errc() || port.container_port == 0) continue;
    if (stop != end && *stop == '/') port.protocol.assign(stop + 1, end);
    ports.push_back(std::move(port));
  }
  return ports;
}

}  // namespace

Agent::Agent(Loop& loop, StateStore store, const std::string& run_dir, ProjectSpec project)
    : loop_(loop),
      store_(std::move(store)),
      event_log_(run_dir + "/state"),
      accepted_(std::make_shared<const ProjectSpec>(std::move(project))),
      watchdog_(loop),
      give_way_(loop),
      socket_watch_(loop),
      socket_look_(loop) {}

Agent::~Agent() {
  // Connections and probes refer to the parts below them.
  api_.reset();
  driver_.reset();
  engine_.reset();
  keeper_.reset();
}

Result<std::unique_ptr<Agent>> Agent::open(Loop& loop, const AgentOptions& options) {
  Result<StateStore> store = StateStore::open(options.run_dir, options.data_dir);
  if (!store) return fail(store.error());
  std::vector<std::string> problems;
  Result<ProjectSpec> project = store->load_project(problems);
  if (!project) return fail(project.error());
  open_log(project->log);
  for (const std::string& problem : problems) log_warning(problem);
  std::unique_ptr<Agent> agent(
      new Agent(loop, std::move(*store), options.run_dir, std::move(*project)));
  if (Status opened = agent->open_parts(options); !opened) return fail(opened.error());
  if (Status opened = agent->open_server(options); !opened) return fail(opened.error());
  return agent;
}

Status Agent::open_parts(const AgentOptions& options) {
  Result<UniqueFd> lock = take_lock(options.data_dir);
  if (!lock) return fail(lock.error());
  data_lock_ = std::move(*lock);

  KeeperClient::Handlers handlers;
  handlers.on_signal = [this](int signal) { on_signal(signal); };
  handlers.on_lost = [this](const Error& error) {
    log_error(error.text + "; containers go on, `keepwell run` takes them up again");
    exit_code_ = 1;
    loop_.stop();
  };
  auto keeper = KeeperClient::open(loop_, UniqueFd(options.keeper_fd), std::move(handlers));
  if (!keeper) return fail(keeper.error());
  keeper_ = std::move(*keeper);

  LinuxEngineOptions engine_options;
  engine_options.run_dir = options.run_dir;
  engine_options.data_dir = options.data_dir;
  engine_options.runtime = accepted_->runtime;
  engine_options.on_event = [this](const EngineEvent& event) { driver_->submit(Input(event)); };
  engine_options.on_warning = [](const std::string& text) { log_warning(text); };
  auto engine = LinuxEngine::open(loop_, *keeper_, std::move(engine_options));
  if (!engine) return fail(engine.error());
  engine_ = std::move(*engine);

  Driver::Parts parts;
  parts.loop = &loop_;
  parts.engine = engine_.get();
  parts.store = &store_;
  parts.events = &events_;
  parts.stats = &stats_;
  driver_ = std::make_unique<Driver>(parts, random_seed(),
                                     [this] { engine_->settle([this] { finish(0); }); });
  return {};
}

Status Agent::open_server(const AgentOptions& options) {
  Result<UniqueFd> metrics = listen_tcp(accepted_->metrics.listen);
  if (!metrics)
    return fail(metrics.error().with("cannot serve metrics (x-keepwell.metrics.listen)"));
  log_info("metrics on http://" + local_address(metrics->get()) + "/metrics");
  stats_.version = KEEPWELL_VERSION;
  stats_.libuv = libuv_version();
  api_ = std::make_unique<ApiServer>(context());
  if (Status served = api_->serve_metrics(std::move(*metrics)); !served) return served;
  Result<UniqueFd> socket = api_socket(UniqueFd(options.listen_fd));
  if (!socket) return fail(socket.error());
  if (Status served = api_->serve_api(std::move(*socket)); !served) return served;
  watch_socket();
  return {};
}

// The keeper's socket, or, where nobody can reach it any more because the run directory was
// emptied, a new one at its place.
Result<UniqueFd> Agent::api_socket(UniqueFd inherited) {
  const std::string path = accepted_->run_dir + "/keepwell.sock";
  if (somebody_listens(path)) return inherited;
  if (Status made = make_private_dir(accepted_->run_dir, 0755); !made) return fail(made.error());
  return listen_unix({.path = path, .group = accepted_->api.group, .mode = accepted_->api.mode});
}

void Agent::watch_socket() {
  const std::string path = accepted_->run_dir + "/keepwell.sock";
  Status watched = socket_watch_.start(
      path, [this] { socket_look_.start_after(kSocketLook, [this] { socket_changed(); }); });
  // Not to be watched: looked at now and then.
  if (!watched) socket_look_.start_after(kSocketLookSeldom, [this] { socket_changed(); });
}

// Somebody may have emptied the run directory under us: what we keep in it is made anew.
void Agent::socket_changed() {
  const std::string path = accepted_->run_dir + "/keepwell.sock";
  if (somebody_listens(path)) return watch_socket();
  log_warning(path +
              " is gone: somebody has emptied the run directory; what keepwell needs there "
              "is made anew");
  Result<UniqueFd> socket = api_socket({});
  Status served = socket ? api_->serve_api(std::move(*socket)) : Status(fail(socket.error()));
  Status stored = store_.make_dirs();
  if (stored) stored = store_.save_project(*accepted_);
  if (stored) stored = event_log_.rewrite(events_.history());
  if (!served) log_error(served.error().text);
  if (!stored) log_error(stored.error().text);
  driver_->save_all();
  watch_socket();
}

void Agent::start() {
  events_.store_with([this](const Event& event) {
    if (Status kept = event_log_.append(event); !kept) log_error(kept.error().text);
  });
  std::deque<Event> history = event_log_.load();
  std::uint64_t last = history.empty() ? 0 : history.back().sequence;
  events_.restore(std::move(history), last);
  driver_->restore();
  std::set<std::string> known;
  for (const ContainerStatus* status : driver_->supervisor().containers()) known.insert(status->id);
  engine_->clean_leftovers(known);
  stats_.config_last_reload = Loop::now().wall;
  driver_->submit(Configure{accepted_});
  keeper_->ready();
  notify_supervisor("READY=1");
  if (std::optional<Duration> period = watchdog_period()) feed_watchdog(*period);
  log_info("keepwell " KEEPWELL_VERSION " supervises " +
           std::to_string(accepted_->services.size()) + " services of " + accepted_->name);
}

// From the loop: a loop that hangs feeds no more, and systemd restarts us.
void Agent::feed_watchdog(Duration period) {
  notify_supervisor("WATCHDOG=1");
  watchdog_.start_after(period, [this, period] { feed_watchdog(period); });
}

void Agent::on_signal(int signal) {
  if (signal == SIGHUP) {
    reload_from_files();
    return;
  }
  if (accepted_->on_exit == OnExit::leave) {
    log_info("ending; the containers go on (x-keepwell.on_exit: leave)");
    driver_->save_all();
    finish(0);
    return;
  }
  notify_supervisor("STOPPING=1");
  log_info(driver_->supervisor().shutting_down() ? "stopping everything at once"
                                                 : "stopping everything");
  driver_->submit(Shutdown{});
}

void Agent::finish(int exit_code) {
  exit_code_ = exit_code;
  if (accepted_->on_exit == OnExit::stop) engine_->leave_nothing();
  keeper_->stopping(exit_code);
  loop_.stop();
}

ApiContext Agent::context() {
  ApiContext api;
  api.loop = &loop_;
  api.events = &events_;
  api.stats = &stats_;
  api.containers = [this] { return driver_->supervisor().containers(); };
  api.project = [this] { return driver_->supervisor().project(); };
  api.facts = [this](const ContainerStatus& status) { return facts(status); };
  api.host = [this] { return host(); };
  api.submit = [this](Command command, std::function<void(Status)> on_done) {
    driver_->submit(std::move(command), std::move(on_done));
  };
  api.metrics = [this](const std::string& accept, std::string& type) {
    return metrics(accept, type);
  };
  api.not_ready = [this] {
    return driver_->adopting() ? std::string("services are still being adopted") : std::string();
  };
  api.not_alive = [] { return std::string(); };
  api.reload = [this](const std::string& body, const std::function<void(Status)>& on_done) {
    reload(body, on_done);
  };
  api.upgrade = [this](const std::string& body, const std::function<void(Status)>& on_done) {
    upgrade(body, on_done);
  };
  api.log_path = [this](const ContainerStatus& status) { return engine_->log_path(status.id); };
  api.sample = [this](const ContainerStatus& status) { return sample(status); };
  api.files = [this](const ContainerStatus& status) -> Result<ContainerFiles> {
    if (status.pid != 0) return ContainerFiles::open(status.pid, status.pid_start_ticks);
    return engine_->files_at_rest(status.id, status.spec->rootfs);
  };
  api.pids = [this](const ContainerStatus& status) -> Result<std::vector<int>> {
    return engine_->pids(status.id);
  };
  api.exec = [this](const ExecSessionOrder& order, ExecSessionHandlers handlers) {
    return engine_->exec(order, std::move(handlers));
  };
  api.open_stdin = [this](const ContainerStatus& status) { return engine_->open_stdin(status.id); };
  api.resize = [this](const ContainerStatus& status, int rows, int columns) {
    return engine_->resize(status.id, rows, columns);
  };
  return api;
}

RuntimeFacts Agent::facts(const ContainerStatus& status) {
  RuntimeFacts facts;
  facts.log_path = engine_->log_path(status.id);
  facts.project_file = accepted_->file;
  std::string& hash = config_hashes_[status.spec];
  if (hash.empty()) hash = config_hash(*status.spec);
  facts.config_hash = hash;
  facts.image_id = status.spec->image_id;
  facts.ports = exposed_ports(*status.spec);
  if (status.spec->runtime == RuntimeKind::oci) {
    facts.oci_runtime = engine_->runtime_name().substr(0, engine_->runtime_name().find(' '));
    facts.driver = status.spec->image_id.empty() ? "rootfs" : "overlay2";
    facts.mounts = mount_facts(*status.spec, status.name, accepted_->data_dir + "/volumes");
  }
  return facts;
}

HostFacts Agent::host() const {
  HostInfo info = read_host_info();
  HostFacts facts;
  facts.version = version_facts(info);
  facts.host_id = info.machine_id;
  facts.hostname = info.hostname;
  facts.cpus = info.cpus;
  facts.memory_bytes = info.memory_bytes;
  facts.operating_system = info.operating_system;
  facts.architecture = info.machine;
  facts.cgroup_driver = "cgroupfs";
  facts.cgroup_version = info.cgroup_v2 ? 2 : 1;
  facts.data_dir = accepted_->data_dir;
  std::string runtime = engine_->runtime_name();
  facts.default_runtime = runtime.empty() ? "process" : runtime.substr(0, runtime.find(' '));
  if (!runtime.empty()) {
    facts.version.components[facts.default_runtime] = runtime;
    const std::size_t path = runtime.rfind('(') + 1;
    facts.runtimes[facts.default_runtime] = runtime.substr(path, runtime.size() - path - 1);
  }
  facts.security_options = {"name=seccomp,profile=builtin"};
  facts.open_fds = static_cast<int>(read_self_usage().open_fds);
  facts.now = Loop::now().wall;
  return facts;
}

std::string Agent::metrics(const std::string& accept, std::string& content_type) {
  SelfUsage usage = read_self_usage();
  stats_.process = ProcessStats{.cpu_seconds = usage.cpu_seconds,
                                .resident_bytes = usage.resident_bytes,
                                .virtual_bytes = usage.virtual_bytes,
                                .open_fds = usage.open_fds,
                                .max_fds = usage.max_fds,
                                .start_time_seconds = usage.start_time_seconds};
  stats_.state_write_failures_total = store_.write_failures() + event_log_.write_failures();
  stats_.probe_lateness = driver_->supervisor().probe_lateness();
  MetricsFormat format = metrics_format_for(accept);
  content_type = metrics_content_type(format);
  std::vector<const ContainerStatus*> containers = driver_->supervisor().containers();
  std::map<std::string, LogCounters> logs;
  for (const ContainerStatus* container : containers) {
    if (auto counters = engine_->log_counters(container->id)) logs[container->id] = *counters;
  }
  logs_.see(std::move(logs));
  stats_.log = logs_.totals();
  usage_.refresh(
      containers, [this](const ContainerStatus& container) { return measure(container); },
      [] { return Loop::now().mono; });
  return render_metrics({.containers = containers,
                         .agent = &stats_,
                         .spec = accepted_->metrics,
                         .usage = [this](const ContainerStatus& c) { return usage_.find(c); }},
                        format);
}

Result<ServiceUsage> Agent::measure(const ContainerStatus& status) const {
  Result<CgroupStats> read = engine_->stats(status.id);
  if (!read) return fail(read.error());
  auto seconds = [](Duration value) { return std::chrono::duration<double>(value).count(); };
  auto waited = [&](const std::optional<Pressure>& pressure) {
    return pressure ? std::optional(seconds(pressure->total)) : std::nullopt;
  };
  return ServiceUsage{
      .cpu_seconds = seconds(read->cpu),
      .cpu_throttled_seconds = seconds(read->cpu_throttled),
      .memory_bytes = read->memory_bytes,
      .memory_working_set_bytes =
          read->memory_bytes - std::min(read->memory_bytes, read->memory_inactive_file_bytes),
      .memory_limit_bytes = read->memory_limit_bytes,
      .processes = read->pids,
      .oom_kills = read->oom_kills,
      .cpu_pressure_seconds = waited(read->cpu_pressure),
      .memory_pressure_seconds = waited(read->memory_pressure),
      .io_pressure_seconds = waited(read->io_pressure)};
}

Result<ContainerStats> Agent::sample(const ContainerStatus& status) const {
  Result<CgroupStats> read = engine_->stats(status.id);
  if (!read) return fail(read.error());
  HostInfo info = read_host_info();
  auto ns = [](Duration value) { return static_cast<std::uint64_t>(value.count()); };
  ContainerStats stats;
  stats.at = Loop::now().wall;
  stats.cpu_ns = ns(read->cpu);
  stats.cpu_user_ns = ns(read->cpu_user);
  stats.cpu_kernel_ns = ns(read->cpu_system);
  stats.throttled_ns = ns(read->cpu_throttled);
  stats.system_cpu_ns = read_system_cpu_ns();
  stats.online_cpus = info.cpus;
  stats.memory_bytes = read->memory_bytes;
  stats.memory_limit_bytes = read->memory_limit_bytes.value_or(info.memory_bytes);
  stats.memory_stats[info.cgroup_v2 ? "inactive_file" : "total_inactive_file"] =
      read->memory_inactive_file_bytes;
  stats.cgroup_v2 = info.cgroup_v2;
  stats.oom_kills = read->oom_kills;
  auto add_pressure = [&stats](const char* name, const std::optional<Pressure>& pressure) {
    if (pressure) stats.pressure[name] = {pressure->avg10, pressure->total};
  };
  add_pressure("cpu", read->cpu_pressure);
  add_pressure("memory", read->memory_pressure);
  add_pressure("io", read->io_pressure);
  stats.pids = read->pids;
  stats.pids_limit = read->pids_limit.value_or(0);
  stats.block.push_back({.read_bytes = read->io_read_bytes, .write_bytes = read->io_write_bytes});
  return stats;
}

void Agent::reload(const std::string& body, const std::function<void(Status)>& on_done) {
  Result<ProjectSpec> project = project_from_json(body);
  on_done(project ? accept(std::move(*project)) : refuse(project.error().with("cannot reload")));
}

// The keeper becomes the new program first, and starts the new agent when this one has ended.
void Agent::upgrade(const std::string& body, const std::function<void(Status)>& on_done) {
  nlohmann::json order = nlohmann::json::parse(body, nullptr, false);
  std::map<std::string, std::string> paths;
  for (const char* name : {"agent", "keeper", "logger", "enter"}) {
    const auto path = order.is_object() ? order.find(name) : order.end();
    if (path == order.end() || !path->is_string()) {
      return on_done(fail(Errc::invalid, std::string("cannot upgrade: no path of ") + name));
    }
    paths[name] = path->get<std::string>();
    if (Status usable = check_program(paths[name]); !usable) {
      return on_done(fail(usable.error().with("cannot upgrade")));
    }
  }
  UpgradePaths programs{.keeper = paths["keeper"],
                        .logger = paths["logger"],
                        .enter = paths["enter"],
                        .agent_argv = {paths["agent"], "agent", "--run-dir", accepted_->run_dir,
                                       "--data-dir", accepted_->data_dir}};
  log_info("upgrading to " + paths["keeper"] + " and " + paths["agent"]);
  keeper_->upgrade(programs, [this, on_done](const Status& upgraded) {
    if (!upgraded) {
      log_error(upgraded.error().with("cannot upgrade").text);
      return on_done(fail(upgraded.error().with("cannot upgrade")));
    }
    on_done({});
    give_way_.start_after(kGiveWay, [this] { give_way(); });
  });
}

void Agent::give_way() {
  log_info("giving way to the agent of the new version");
  driver_->save_all();
  keeper_->respawn();
  exit_code_ = 0;
  loop_.stop();
}

// SIGHUP: the files of `keepwell run`, read again; nobody waits for the answer but the log.
void Agent::reload_from_files() {
  Result<ConfigSource> source = load_source(accepted_->run_dir);
  if (!source) {
    (void)refuse(source.error());
    return;
  }
  Result<LoadOptions> options = load_options(source->file, source->run_dir, source->data_dir);
  if (!options) {
    (void)refuse(options.error());
    return;
  }
  Loaded loaded = load_project(*options);
  resolve_images(loaded, ImageFetch::never);  // fetching would keep everybody waiting
  for (const Diagnostic& diagnostic : loaded.diagnostics) {
    diagnostic.error ? log_error(to_string(diagnostic)) : log_warning(to_string(diagnostic));
  }
  if (loaded.project) {
    (void)accept(std::move(*loaded.project));
  } else {
    (void)refuse({Errc::invalid, "cannot reload " + accepted_->file + ": it has mistakes"});
  }
}

Status Agent::refuse(const Error& error) {
  ++stats_.config_reloads_total;
  ++stats_.config_reload_failures_total;
  log_error(error.text + "; nothing was changed");
  return fail(error);
}

Status Agent::accept(ProjectSpec project) {
  ProjectDiff diff = diff_projects(*accepted_, project);
  if (!diff.fixed.empty()) {
    return refuse({Errc::invalid, "cannot reload: " + diff.fixed.front() +
                                      " changes only when keepwell is stopped and run again"});
  }
  if (Status saved = store_.save_project(project); !saved) {
    return refuse(saved.error().with("cannot reload"));
  }
  ++stats_.config_reloads_total;
  accepted_ = std::make_shared<const ProjectSpec>(std::move(project));
  config_hashes_.clear();
  open_log(accepted_->log);
  stats_.config_last_reload = Loop::now().wall;
  for (const ServiceDiff& service : diff.services) {
    log_info("reload: " + service.service + ": " + to_string(service.change));
  }
  log_info("reloaded: " + std::to_string(accepted_->services.size()) + " services");
  driver_->submit(Configure{accepted_});
  return {};
}

}  // namespace keepwell
