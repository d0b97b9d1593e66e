// Specs in the making: what the readers of single keys leave for the checks that need several of
// them at once. Nothing outside of the loader sees a draft.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/fields.h"
#include "config/spec.h"

namespace keepwell {

struct CheckDraft {
  CheckSpec spec;
  Place place;
  bool disabled = false;  // disable: true, or test: NONE
  bool retries_given = false;
  std::optional<OnUnhealthy> on_unhealthy;
  std::optional<Place> start_interval_place;
  std::optional<Place> net_place;  // of http, tcp or grpc
};

struct ServiceDraft {
  ServiceSpec spec;
  const Entry* entry = nullptr;  // the service in the file; outlives the draft
  std::optional<CheckDraft> healthcheck;
  std::vector<CheckDraft> checks;  // of x-keepwell.checks
  std::vector<NamedValue> environment;
  std::vector<NamedValue> env_file;
  std::optional<OnUnhealthy> on_unhealthy;
  std::vector<Place> dependency_places;  // beside spec.depends_on
  bool argv_bad = false;  // command or entrypoint could not be read, which was reported

  // The place of KEY's value where the service has that key, else of the service itself.
  Place place_of(std::string_view key) const {
    const Node* value = entry->value.find(key);
    return value != nullptr ? value->place : entry->key_place;
  }
  bool has(std::string_view key) const { return entry->value.find(key) != nullptr; }
};

// load_project.cc
// Fills PROJECT from the whole tree. CONTEXT.defaults is set on the way.
void read_project(LoadContext& context, const Node& root, const std::vector<std::string>& profiles,
                  ProjectSpec& project);

// load_service.cc
ServiceDraft read_service(LoadContext& context, const Entry& entry);

// load_healthcheck.cc
void read_healthcheck(const Field& field, ServiceDraft& draft);
// x-keepwell.checks of a service.
void read_checks(const Field& field, ServiceDraft& draft);
// x-keepwell.defaults.healthcheck: what may stand there, checked once.
void check_default_healthcheck(LoadContext& context, const Node& node);
// Puts the drafts' checks into the spec.
void finish_checks(LoadContext& context, ServiceDraft& draft);

// load_net_check.cc
void read_http_check(const Field& field, CheckDraft& draft);
void read_tcp_check(const Field& field, CheckDraft& draft);
void read_grpc_check(const Field& field, CheckDraft& draft);

// load_launch.cc
void read_command(const Field& field, ServiceDraft& draft);
void read_entrypoint(const Field& field, ServiceDraft& draft);
void read_cap_add(const Field& field, ServiceDraft& draft);
void read_cap_drop(const Field& field, ServiceDraft& draft);
void read_security_opt(const Field& field, ServiceDraft& draft);
void read_ulimits(const Field& field, ServiceDraft& draft);
void read_stop_signal(const Field& field, ServiceDraft& draft);
void read_mem_limit(const Field& field, ServiceDraft& draft);
void read_pids_limit(const Field& field, ServiceDraft& draft);
void read_network_mode(const Field& field, ServiceDraft& draft);
void read_hostname(const Field& field, ServiceDraft& draft);
void read_logging_key(const Field& field, ServiceDraft& draft);
void read_logging(LoadContext& context, const Node& node, LoggingSpec& logging);

// load_environment.cc
void read_environment(const Field& field, ServiceDraft& draft);
void read_env_file(const Field& field, ServiceDraft& draft);
void finish_environment(LoadContext& context, ServiceDraft& draft);

// load_restart.cc
void read_restart(const Field& field, ServiceDraft& draft);
// `always`, `on-failure:3`...: sets policy and max_attempts.
bool read_restart_policy(LoadContext& context, const Node& node, RestartSpec& restart);
void read_restart_tuning(LoadContext& context, const Node& node, RestartSpec& restart);
// x-keepwell.defaults.restart: a policy, or a map of `policy` and the tuning keys.
void read_default_restart(LoadContext& context, const Node& node, RestartSpec& restart);

// load_depends_on.cc
void read_depends_on(const Field& field, ServiceDraft& draft);
// Unknown names, missing checks and cycles, over all services of the file.
void check_dependencies(LoadContext& context, std::vector<ServiceDraft>& drafts,
                        const std::vector<std::string>& profiles);

// load_keepwell.cc
void read_service_keepwell(const Field& field, ServiceDraft& draft);
void read_project_keepwell(LoadContext& context, const Node& node, ProjectSpec& project);
bool read_on_unhealthy(LoadContext& context, const Node& node, std::optional<OnUnhealthy>& out);

}  // namespace keepwell
