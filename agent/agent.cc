#include "agent/agent.h"

#include <csignal>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <utility>

#include "agent/api/api.h"
#include "agent/driver.h"
#include "agent/evidence_collector.h"
#include "agent/image_resolve.h"
#include "agent/log.h"
#include "agent/network_facts.h"
#include "agent/source_file.h"
#include "agent/webhook_sender.h"
#include "config/diff.h"
#include "config/spec_json.h"
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

}  // namespace

Agent::Agent(Loop& loop, StateStore store, const AgentOptions& options, ProjectSpec project)
    : loop_(loop),
      store_(std::move(store)),
      event_log_(options.run_dir + "/state"),
      journal_(options.data_dir),
      accepted_(std::make_shared<const ProjectSpec>(std::move(project))),
      incidents_(options.data_dir),
      watchdog_(loop),
      give_way_(loop),
      socket_watch_(loop),
      socket_look_(loop) {}

Agent::~Agent() {
  // Connections and probes refer to the parts below them.
  api_.reset();
  driver_.reset();
  evidence_.reset();
  webhooks_.reset();
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
  std::unique_ptr<Agent> agent(new Agent(loop, std::move(*store), options, std::move(*project)));
  if (Status opened = agent->open_parts(options); !opened) return fail(opened.error());
  if (Status opened = agent->open_server(options); !opened) return fail(opened.error());
  if (!options.exit_code_from.empty()) agent->end_with(options.exit_code_from);
  return agent;
}

Status Agent::open_parts(const AgentOptions& options) {
  Result<UniqueFd> lock = take_agent_lock(options.data_dir);
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
  engine_options.cgroup_parent = options.cgroup_parent;
  engine_options.on_event = [this](const EngineEvent& event) { driver_->submit(Input(event)); };
  engine_options.on_warning = [](const std::string& text) { log_warning(text); };
  auto engine = LinuxEngine::open(loop_, *keeper_, std::move(engine_options));
  if (!engine) return fail(engine.error());
  engine_ = std::move(*engine);
  engine_->reserve_addresses(fixed_addresses(*accepted_));

  evidence_ = std::make_unique<EvidenceCollector>(
      loop_, *engine_, incidents_,
      [this](Captured captured) { driver_->submit(std::move(captured)); });
  Driver::Parts parts;
  parts.capture = [this](const Capture& order, const ContainerStatus& status) {
    evidence_->capture(order, status);
  };
  parts.loop = &loop_;
  parts.engine = engine_.get();
  parts.store = &store_;
  parts.events = &events_;
  parts.journal = &journal_;
  parts.stats = &stats_;
  webhooks_ = std::make_unique<WebhookSender>(loop_, *keeper_, stats_);
  parts.webhooks = webhooks_.get();
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
  apply_guard_settings();
  events_.store_with([this](const Event& event) {
    if (Status kept = event_log_.append(event); !kept) log_error(kept.error().text);
  });
  std::deque<Event> history = event_log_.load();
  std::uint64_t last = history.empty() ? 0 : history.back().sequence;
  last = std::max(last, journal_.load_tail(kEventHistoryMax).last_sequence);
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

// Whatever is told of SERVICE: has it ended for good?
void Agent::end_with(const std::string& service) {
  last_service_ = events_.subscribe([this, service](const Event& event) {
    if (!event.spec || event.spec->name != service) return;
    for (const ContainerStatus* status : driver_->supervisor().containers()) {
      if (status->id != event.id) continue;
      const bool ended =
          status->state == ServiceState::exited || status->state == ServiceState::failed;
      if (!ended) continue;
      const bool first = !last_exit_code_;
      last_exit_code_ = status->exit_code;
      if (!first || driver_->supervisor().shutting_down()) continue;
      log_info(status->name + " has ended with " + std::to_string(status->exit_code) +
               ": stopping everything (--exit-code-from)");
      driver_->submit(Shutdown{});
    }
  });
}

void Agent::finish(int exit_code) {
  if (exit_code == 0) exit_code = last_exit_code_.value_or(0);
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
  api.journal_path = journal_.path();
  api.submit = [this](Command command, std::function<void(Status)> on_done) {
    driver_->submit(std::move(command), std::move(on_done));
  };
  api.metrics = [this](const std::string& accept, std::string& type) {
    return metrics(accept, type);
  };
  api.not_ready = [this] {
    return driver_->adopting() ? std::string("services are still being adopted") : std::string();
  };
  api.not_alive = [this] { return late(); };
  api.incidents = [this] { return incidents_json(); };
  api.incident = [this](const std::string& id) { return incident_json(id); };
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
  engine_->reserve_addresses(fixed_addresses(*accepted_));
  open_log(accepted_->log);
  apply_guard_settings();
  stats_.config_last_reload = Loop::now().wall;
  for (const ServiceDiff& service : diff.services) {
    log_info("reload: " + service.service + ": " + to_string(service.change));
  }
  log_info("reloaded: " + std::to_string(accepted_->services.size()) + " services");
  driver_->submit(Configure{accepted_});
  engine_->put_firewall_rules_back();
  return {};
}

}  // namespace keepwell
