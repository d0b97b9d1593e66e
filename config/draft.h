// Specs in the making: what the readers of single keys leave for the checks that need several of
// them at once. Nothing outside of the loader sees a draft.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/fields.h"
#include "config/image_merge.h"
#include "config/spec.h"

namespace keepwell {

struct ActionDraft {
  ActionSpec spec;
  std::string named;  // an entry of x-keepwell.hooks takes the place of spec
  Place place;
  bool used = false;  // of x-keepwell.hooks: something names it
};

struct UnhealthyDraft {
  OnUnhealthy word = OnUnhealthy::policy;
  std::vector<ActionDraft> actions;
};

struct CheckDraft {
  CheckSpec spec;
  Place place;
  bool disabled = false;       // disable: true, or test: NONE
  HealthcheckGiven given;      // by the check itself, not by the file's defaults
  bool retries_given = false;  // by either
  std::optional<UnhealthyDraft> on_unhealthy;
  std::optional<Place> start_interval_place;
  std::optional<Place> net_place;  // of http, tcp or grpc
};

// What `deploy` says, until the service's own keys are known too.
struct DeployDraft {
  std::optional<double> cpus;
  std::optional<std::int64_t> memory, pids, reservation;
  std::optional<int> replicas;
  const Node* restart = nullptr;
};

// One item of a service's `networks`.
struct NetworkUseDraft {
  NetworkUse use;
  Place place, ipv4_place, ipv6_place;
};

struct ServiceDraft {
  ServiceSpec spec;
  const Entry* entry = nullptr;  // the service in the file; outlives the draft
  std::optional<CheckDraft> healthcheck;
  std::vector<CheckDraft> checks;  // of x-keepwell.checks
  std::vector<NamedValue> environment;
  std::vector<NamedValue> env_file;
  std::optional<UnhealthyDraft> on_unhealthy;
  std::map<std::string, ActionDraft> hooks;                     // of x-keepwell.hooks
  std::vector<Place> dependency_places;                         // beside spec.depends_on
  std::vector<Place> mount_places, file_places, device_places;  // beside those of the spec
  std::vector<NamedValue> label_files;
  DeployDraft deploy;
  std::vector<NetworkUseDraft> networks;
  std::vector<Place> port_places;     // beside spec.ports
  std::string mac_address;            // of the first network
  std::string network_of;             // network_mode service:, container: until it is resolved
  std::optional<ImageUse> image_use;  // of a service that runs an image
  struct Waiter {
    std::string service;
    Place place;
  };
  std::vector<Waiter> waiters;  // for this one to be healthy, while only its image may have a check
  bool argv_bad = false;        // command or entrypoint could not be read, which was reported

  // The place of KEY's value where the service has that key, else of the service itself.
  Place place_of(std::string_view key) const {
    const Node* value = entry->value.find(key);
    return value != nullptr ? value->place : entry->key_place;
  }
  bool has(std::string_view key) const { return entry->value.find(key) != nullptr; }

  // Whether the service runs an image, not a directory and not the host's own programs.
  bool runs_image() const {
    return spec.runtime == RuntimeKind::oci && spec.rootfs.empty() &&
           !(spec.image.empty() && spec.image_source.from.empty());
  }
};

// load_project.cc
// Fills PROJECT from the whole tree, and IMAGES with what of it waits for an image.
// CONTEXT.defaults is set on the way. REQUIRES: project.name is set.
void read_project(LoadContext& context, const Node& root, const std::vector<std::string>& profiles,
                  ProjectSpec& project, std::vector<ImageUse>& images);

// Whether PROFILES leave the service in.
bool is_enabled(const ServiceSpec& spec, const std::vector<std::string>& profiles);

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

// load_actions.cc
bool read_on_unhealthy(LoadContext& context, const Node& node, std::optional<UnhealthyDraft>& out);
// x-keepwell.hooks of a service.
void read_named_hooks(const Field& field, ServiceDraft& draft);
// UNHEALTHY's actions, with the hooks that they name.
std::vector<ActionSpec> resolve_actions(LoadContext& context, ServiceDraft& draft,
                                        const UnhealthyDraft& unhealthy);
// Warns of hooks that nothing names. REQUIRES: every on_unhealthy of the service was resolved.
void check_hooks(LoadContext& context, const ServiceDraft& draft);

// load_net_check.cc
// A webhook's URL; its host may be a name.
void read_url(const Field& field, const std::string& url, WebhookSpec& webhook);
void read_http_headers(const Field& field, HttpCheck& http);
void read_http_tls(const Field& field, HttpCheck& http);
void read_http_check(const Field& field, CheckDraft& draft);
void read_tcp_check(const Field& field, CheckDraft& draft);
void read_grpc_check(const Field& field, CheckDraft& draft);

// load_hooks.cc
void read_post_start(const Field& field, ServiceDraft& draft);
void read_pre_stop(const Field& field, ServiceDraft& draft);

// load_image.cc
void read_image(const Field& field, ServiceDraft& draft);
void read_pull_policy(const Field& field, ServiceDraft& draft);
void read_platform(const Field& field, ServiceDraft& draft);
// x-keepwell.image of a service.
void read_image_source(const Field& field, ServiceDraft& draft);
// What can be said of these keys once the service is read.
void check_image(LoadContext& context, ServiceDraft& draft);

// load_launch.cc
// command, entrypoint and the like: null is the image's own (OUT stays), a text is split, a list
// stays as it is. False where that failed and was reported.
bool read_words(const Field& field, std::optional<std::vector<std::string>>& out);
void read_command(const Field& field, ServiceDraft& draft);
void read_entrypoint(const Field& field, ServiceDraft& draft);
void read_cap_add(const Field& field, ServiceDraft& draft);
void read_cap_drop(const Field& field, ServiceDraft& draft);
void read_security_opt(const Field& field, ServiceDraft& draft);
void read_ulimits(const Field& field, ServiceDraft& draft);
void read_stop_signal(const Field& field, ServiceDraft& draft);
void read_logging_key(const Field& field, ServiceDraft& draft);
void read_logging(LoadContext& context, const Node& node, LoggingSpec& logging);

// load_limits.cc
void read_mem_limit(const Field& field, ServiceDraft& draft);
void read_mem_reservation(const Field& field, ServiceDraft& draft);
void read_memswap_limit(const Field& field, ServiceDraft& draft);
void read_mem_swappiness(const Field& field, ServiceDraft& draft);
void read_oom_kill_disable(const Field& field, ServiceDraft& draft);
void read_oom_score_adj(const Field& field, ServiceDraft& draft);
void read_pids_limit(const Field& field, ServiceDraft& draft);
void read_cpus(const Field& field, ServiceDraft& draft);
void read_cpu_shares(const Field& field, ServiceDraft& draft);
void read_cpuset(const Field& field, ServiceDraft& draft);
void read_deploy(const Field& field, ServiceDraft& draft);
// Puts `deploy` over the service's own keys. REQUIRES: all of them were read.
void finish_limits(LoadContext& context, ServiceDraft& draft);

// load_host.cc
void read_hostname(const Field& field, ServiceDraft& draft);
void read_domainname(const Field& field, ServiceDraft& draft);
void read_extra_hosts(const Field& field, ServiceDraft& draft);
void read_dns(const Field& field, ServiceDraft& draft);
void read_dns_search(const Field& field, ServiceDraft& draft);
void read_dns_opt(const Field& field, ServiceDraft& draft);
void read_sysctls(const Field& field, ServiceDraft& draft);
void read_annotations(const Field& field, ServiceDraft& draft);
void read_devices(const Field& field, ServiceDraft& draft);
void read_device_cgroup_rules(const Field& field, ServiceDraft& draft);
void read_group_add(const Field& field, ServiceDraft& draft);
void read_shm_size(const Field& field, ServiceDraft& draft);
void read_pid(const Field& field, ServiceDraft& draft);
void read_uts(const Field& field, ServiceDraft& draft);
void read_cgroup(const Field& field, ServiceDraft& draft);
void read_ipc(const Field& field, ServiceDraft& draft);
void read_userns_mode(const Field& field, ServiceDraft& draft);
void finish_host(LoadContext& context, ServiceDraft& draft);

// load_networks.cc
// The `networks` of the file ROOT, and its default one, into CONTEXT.resources.
void read_network_definitions(LoadContext& context, const Node& root);

// load_service_networks.cc
void read_networks(const Field& field, ServiceDraft& draft);
void read_network_mode(const Field& field, ServiceDraft& draft);
void read_mac_address(const Field& field, ServiceDraft& draft);
// x-keepwell.defaults.network_mode.
void read_default_network_mode(const Field& field, Defaults& defaults);
// Puts the drafts' networks into the spec. REQUIRES: runtime is known.
void finish_networks(LoadContext& context, ServiceDraft& draft);
// What can be said of names, addresses and ports of all services together; a service that is in
// another's network depends on it. REQUIRES: dependencies were not checked yet.
void check_networks(LoadContext& context, std::vector<ServiceDraft>& drafts,
                    const std::vector<std::string>& profiles);

// load_ports.cc
void read_ports(const Field& field, ServiceDraft& draft);
void read_expose(const Field& field, ServiceDraft& draft);
// Two services on one port of the host. ENABLED says which of DRAFTS are run.
void check_host_ports(LoadContext& context, const std::vector<ServiceDraft>& drafts,
                      const std::vector<bool>& enabled);

// load_volumes.cc
void read_volumes(const Field& field, ServiceDraft& draft);
void read_tmpfs(const Field& field, ServiceDraft& draft);
// Sorts the mounts, and looks whether this host has what they need.
void finish_mounts(LoadContext& context, ServiceDraft& draft);

// load_volume_definitions.cc
// The file's `volumes`, into CONTEXT.resources.
void read_volume_definitions(LoadContext& context, const Node& node);

// load_files.cc
void read_secrets(const Field& field, ServiceDraft& draft);
void read_configs(const Field& field, ServiceDraft& draft);
// The file's `secrets`, or `configs`, into CONTEXT.resources.
void read_file_definitions(LoadContext& context, const Node& node, bool secret);
void finish_files(LoadContext& context, ServiceDraft& draft);

// load_environment.cc
void read_environment(const Field& field, ServiceDraft& draft);
void read_env_file(const Field& field, ServiceDraft& draft);
void read_label_file(const Field& field, ServiceDraft& draft);
void finish_environment(LoadContext& context, ServiceDraft& draft);

// load_restart.cc
void read_restart(const Field& field, ServiceDraft& draft);
// `always`, `on-failure:3`...: sets policy and max_attempts.
bool read_restart_policy(LoadContext& context, const Node& node, RestartSpec& restart);
// Replaces what `restart` says.
void read_deploy_restart_policy(LoadContext& context, const Node& node, ServiceDraft& draft);
void read_restart_tuning(LoadContext& context, const Node& node, RestartSpec& restart);
// x-keepwell.defaults.restart: a policy, or a map of `policy` and the tuning keys.
void read_default_restart(LoadContext& context, const Node& node, RestartSpec& restart);

// load_depends_on.cc
void read_depends_on(const Field& field, ServiceDraft& draft);
// Unknown names, missing checks and cycles, over all services of the file.
void check_dependencies(LoadContext& context, std::vector<ServiceDraft>& drafts,
                        const std::vector<std::string>& profiles);

// load_guards.cc
void read_restart_budget(const Field& field, ProjectSpec& project);
void read_pressure_guard(const Field& field, ProjectSpec& project);
void read_incidents(const Field& field, ProjectSpec& project);
void read_journal(const Field& field, ProjectSpec& project);
void read_priority(const Field& field, ServiceDraft& draft);
void read_service_pressure_guard(const Field& field, ServiceDraft& draft);
void read_flap(const Field& field, ServiceDraft& draft);
void read_capture(const Field& field, ServiceDraft& draft);

// load_keepwell.cc
void read_service_keepwell(const Field& field, ServiceDraft& draft);
void read_project_keepwell(LoadContext& context, const Node& node, ProjectSpec& project);

}  // namespace keepwell
