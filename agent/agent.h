// The agent program: everything that lives between the keeper's hello and the last goodbye. It owns
// the parts, joins them with each other, and turns the keeper's signals into inputs.
//
//   Result<std::unique_ptr<Agent>> agent = Agent::open(loop, options);
//   (*agent)->start();       // restores, configures, says ready
//   loop.run();              // until everything was stopped, or the keeper is gone
//   return (*agent)->exit_code();
#pragma once

#include <memory>
#include <string>

#include "agent/agent_options.h"
#include "agent/api/context.h"
#include "agent/event_bus.h"
#include "agent/event_log.h"
#include "agent/journal.h"
#include "agent/log_totals.h"
#include "agent/state_store.h"
#include "agent/usage_cache.h"
#include "config/result.h"
#include "exporters/agent_stats.h"
#include "runtime/file_watch.h"
#include "runtime/incident_store.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class ApiServer;
class Driver;
class EvidenceCollector;
class KeeperClient;
class LinuxEngine;
class WebhookSender;
class Loop;

class Agent {
 public:
  // Takes the accepted configuration, the data directory's lock, the keeper's descriptors and the
  // metrics port; nothing is started yet. Fails, saying what is in the way, with nothing changed.
  static Result<std::unique_ptr<Agent>> open(Loop& loop, const AgentOptions& options);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  void start();

  int exit_code() const { return exit_code_; }

 private:
  Agent(Loop& loop, StateStore store, const AgentOptions& options, ProjectSpec project);
  Status open_parts(const AgentOptions& options);
  Status open_server(const AgentOptions& options);
  ApiContext context();
  void on_signal(int signal);
  void finish(int exit_code);
  void apply_guard_settings();
  void end_with(const std::string& service);
  void feed_watchdog(Duration period);
  std::string late() const;
  void fill_guard_stats();
  std::string incidents_json() const;
  Result<std::string> incident_json(const std::string& id) const;
  RuntimeFacts facts(const ContainerStatus& status);
  HostFacts host() const;
  std::string metrics(const std::string& accept, std::string& content_type);
  Result<ContainerStats> sample(const ContainerStatus& status) const;
  Result<ServiceUsage> measure(const ContainerStatus& status) const;
  void reload(const std::string& body, const std::function<void(Status)>& on_done);
  void reload_from_files();
  void upgrade(const std::string& body, const std::function<void(Status)>& on_done);
  void give_way();
  Result<UniqueFd> api_socket(UniqueFd inherited);
  void watch_socket();
  void socket_changed();
  Status accept(ProjectSpec project);
  Status refuse(const Error& error);

  Loop& loop_;
  StateStore store_;
  EventLog event_log_;
  Journal journal_;
  EventBus events_;
  AgentStats stats_;
  LogTotals logs_;
  UsageCache usage_;
  std::shared_ptr<const ProjectSpec> accepted_;  // what start() configures
  std::map<std::shared_ptr<const ServiceSpec>, std::string> config_hashes_;  // made when asked for
  UniqueFd data_lock_;
  std::unique_ptr<KeeperClient> keeper_;
  std::unique_ptr<LinuxEngine> engine_;
  IncidentStore incidents_;
  std::unique_ptr<EvidenceCollector> evidence_;
  std::unique_ptr<WebhookSender> webhooks_;
  std::unique_ptr<Driver> driver_;
  std::unique_ptr<ApiServer> api_;
  Timer watchdog_;
  Timer give_way_;
  FileWatch socket_watch_;
  Timer socket_look_;
  EventBus::Subscription last_service_;  // of --exit-code-from
  std::optional<int> last_exit_code_;
  int exit_code_ = 0;
};

}  // namespace keepwell
