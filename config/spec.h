// What a Compose file says, after anchors, interpolation, defaults and checking: the vocabulary of
// every other folder. Plain values; a field's initialiser is its default and its comment its
// meaning. Nothing here knows YAML.
//
// One file makes a ProjectSpec; each service of it a ServiceSpec; each of its checks a CheckSpec.
// The Compose `healthcheck` is the check named kHealthcheckName; further ones come from
// x-keepwell.checks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/container_spec.h"
#include "config/guard_spec.h"
#include "config/network_spec.h"
#include "config/time.h"

namespace keepwell {

inline constexpr const char* kHealthcheckName = "healthcheck";

// What becoming unhealthy does. `policy` asks the restart policy first, as a failed exit would.
enum class OnUnhealthy { policy, restart, stop, kill, none };

enum class RestartPolicy { no, always, on_failure, unless_stopped };

enum class RuntimeKind { oci, process };

enum class ExecMode { native, runtime };

enum class ProbeKind { exec, http, tcp, grpc };

// When an image is fetched again. `automatic` fetches what is missing, and reads a local source
// (an archive, a layout) again when it has changed; `refresh` fetches what is older than refresh.
enum class PullPolicy { automatic, always, never, missing, refresh };

// `live` and `startup` failures act (on_unhealthy); `ready` only shows; `info` is not rolled up at
// all. While a startup check has not passed, no other check is probed; once it has, it no longer
// is.
enum class CheckRole { startup, live, ready, info };

struct HttpCheck {
  std::string method = "GET";
  std::string scheme = "http";  // or https
  std::string host = "127.0.0.1";
  std::uint16_t port = 80;
  std::string path = "/";
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<std::pair<int, int>> statuses{{200, 399}};  // inclusive ranges
  std::string body_regex;                                 // empty: the body is not looked at
  int redirects_max = 0;                                  // followed; the last answer is judged
  std::vector<std::string> redirect_hosts;  // where one may lead besides to `host` itself
  bool tls_verify = true;
  std::string tls_server_name;
  std::string tls_ca;   // PEM file on the host, in place of the host's own store; empty: that
  std::string content;  // sent as application/json; webhooks only

  bool operator==(const HttpCheck&) const = default;
};
struct TcpCheck {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  std::string send;    // empty: nothing is sent
  std::string expect;  // empty: a completed connect is enough

  bool operator==(const TcpCheck&) const = default;
};
struct GrpcCheck {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  std::string service;  // grpc.health.v1 service name; empty: the server as a whole
  bool tls = false;
  bool tls_verify = true;
  std::string tls_server_name;  // empty: host
  std::string tls_ca;           // as HttpCheck's

  bool operator==(const GrpcCheck&) const = default;
};

// What a check that becomes unhealthy does beside OnUnhealthy.
//   hook     a program on the host: no shell, a cgroup of its own, killed whole at its timeout
//   webhook  a POST of JSON, tried again until it was taken or is a day old
//   capture  evidence (x-keepwell.capture says what)
enum class ActionKind { hook, webhook, capture };

struct HostHookSpec {
  std::vector<std::string> command;  // argv; [0] is searched on PATH
  Duration timeout = std::chrono::seconds(30);

  bool operator==(const HostHookSpec&) const = default;
};
struct WebhookSpec {
  HttpCheck request;        // its host may be a name here
  std::string secret_file;  // its text is the key of the signature; empty: not signed
  Duration timeout = std::chrono::seconds(10);

  bool operator==(const WebhookSpec&) const = default;
};
struct ActionSpec {
  ActionKind kind = ActionKind::hook;
  std::string name;   // in metrics and events
  bool first = true;  // stands before the word of on_unhealthy, which waits until it is over
  HostHookSpec hook;
  WebhookSpec webhook;

  bool operator==(const ActionSpec&) const = default;
};

// One health check of one service. Durations are > 0 except where said.
struct CheckSpec {
  std::string name = kHealthcheckName;
  ProbeKind kind = ProbeKind::exec;

  // As the file gives it: {"CMD", argv...}, {"CMD-SHELL", script} or {"NONE"}; what inspect shows.
  std::vector<std::string> test;
  std::vector<std::string> shell;  // what CMD-SHELL runs, the image's SHELL; empty: /bin/sh -c
  HttpCheck http;
  TcpCheck tcp;
  GrpcCheck grpc;

  Duration interval = std::chrono::seconds(30);
  Duration timeout = std::chrono::seconds(30);
  Duration start_period{0};  // 0: none
  Duration start_interval = std::chrono::seconds(5);
  int retries = 1;                       // the founding default, DESIGN 5; today's Docker says 3
  std::optional<Duration> max_starting;  // none: exit code 2 may keep a container starting for ever
  OnUnhealthy on_unhealthy = OnUnhealthy::policy;
  std::vector<ActionSpec> actions;  // in the order of the file
  int success_threshold = 1;
  Duration initial_delay{0};
  double jitter = 0;  // share of the interval by which the first wait may be shortened, 0 to 1
  bool observe = false;
  CheckRole role = CheckRole::live;

  bool operator==(const CheckSpec&) const = default;
};

// How a service that ended is started again. The defaults are Docker's: 100 ms, doubled up to 60 s.
struct RestartSpec {
  RestartPolicy policy = RestartPolicy::no;
  int max_attempts = 0;  // on_failure:N; 0: without end
  Duration delay = std::chrono::milliseconds(100);
  double factor = 2;
  Duration max_delay = std::chrono::seconds(60);
  double jitter = 0;  // share of the delay, 0 to 1
  Duration reset_after =
      std::chrono::seconds(10);  // running (or healthy) this long starts the backoff again
  int limit_count = 0;           // 0: no limit; else give up (failed) after this many restarts
  Duration limit_window{0};      // within this time; 0: ever

  bool operator==(const RestartSpec&) const = default;
};

enum class DependencyCondition { started, healthy, completed_successfully };

struct Dependency {
  std::string service;
  DependencyCondition condition = DependencyCondition::started;
  bool restart = false;
  bool required = true;
  bool excuses = false;  // while it is not well, failures of ours are not acted on, nor counted

  bool operator==(const Dependency&) const = default;
};

struct LoggingSpec {
  std::string driver = "json-file";          // json-file, local (the same here) or none
  std::uint64_t file_bytes_max = 10u << 20;  // max-size
  int files_max = 3;                         // max-file

  bool operator==(const LoggingSpec&) const = default;
};

struct ProbeLimits {
  std::int64_t pids = 64;
  std::int64_t memory_bytes = 0;  // 0: the service's own limit

  bool operator==(const ProbeLimits&) const = default;
};

// One Linux resource limit; -1 means unlimited.
struct Ulimit {
  std::string name;  // "nofile"
  std::int64_t soft = -1;
  std::int64_t hard = -1;

  bool operator==(const Ulimit&) const = default;
};

// Where a service's image comes from: pull_policy, platform, x-keepwell.image.
struct ImageSource {
  std::string from;  // skopeo's TRANSPORT:REFERENCE; empty: the registry that the image's name says
  PullPolicy pull = PullPolicy::automatic;
  Duration refresh{0};   // with PullPolicy::refresh
  std::string platform;  // os/architecture[/variant]; empty: this machine's
  std::int64_t bytes_max = std::int64_t{20} << 30;  // unpacked; a larger image is refused

  bool operator==(const ImageSource&) const = default;
};

struct ServiceSpec {
  // ---- launch settings: a change of any of these recreates the container
  std::string name;            // the service's key in the file
  std::string container_name;  // container_name, else empty: <project>-<service>-<n>
  RuntimeKind runtime = RuntimeKind::oci;
  ExecMode exec = ExecMode::native;
  std::string image;     // as the file names it; a label where rootfs is given
  std::string image_id;  // sha256:..., once the image was found; empty: rootfs is the file's own
  std::string rootfs;    // absolute directory: x-keepwell.rootfs, or the unpacked image
  std::optional<std::vector<std::string>> entrypoint;  // none: the image's
  std::optional<std::vector<std::string>> command;     // none: the image's
  std::vector<std::pair<std::string, std::string>>
      environment;          // env_file under environment, in file order
  std::string working_dir;  // empty: the image's, else /
  std::string user;         // empty: the image's, else 0:0
  std::string hostname;     // empty: the id's first 12 digits
  std::string domainname;
  // "": the networks below; none: loopback alone; host; service:NAME: that of another service
  std::string network_mode;
  std::vector<NetworkUse> networks;  // by priority, the highest first
  bool networks_implicit = false;    // the file names none: the project's default network
  std::vector<PortSpec> ports;
  std::string pid_mode, uts_mode, cgroup_mode;  // "": one of its own; host
  std::string ipc_mode;                         // "": one of its own; host, none (without /dev/shm)
  std::vector<std::string> group_add;           // names (of the container's /etc/group) or numbers
  std::vector<std::pair<std::string, std::string>> extra_hosts;  // name, address
  std::vector<std::string> dns, dns_search, dns_opt;  // each in place of the host's where it is set
  std::map<std::string, std::string> sysctls;
  std::map<std::string, std::string> annotations;
  std::vector<std::string> cap_add, cap_drop;  // without CAP_; ALL is allowed
  bool privileged = false;
  bool read_only = false;
  bool no_new_privileges = false;
  bool init = false;
  bool tty = false;
  bool stdin_open = false;
  std::string seccomp;    // "", unconfined, or an absolute profile path
  std::string apparmor;   // "", unconfined, or the name of a loaded profile
  bool unmasked = false;  // security_opt systempaths=unconfined: all of /proc and /sys is seen
  std::vector<MountSpec> mounts;  // by target
  std::vector<FileSpec> files;    // secrets, then configs
  std::vector<DeviceSpec> devices;
  std::vector<std::string> device_cgroup_rules;  // "c 1:3 mr"
  std::int64_t shm_bytes = std::int64_t{64} << 20;
  std::vector<Ulimit> ulimits;
  std::int64_t pids_limit = 0;         // 0: none
  std::int64_t memory_bytes = 0;       // 0: none
  std::int64_t memory_swap_bytes = 0;  // memory and swap; 0: twice memory_bytes; -1: no limit
  std::int64_t memory_reservation_bytes = 0;  // 0: none
  std::optional<int> mem_swappiness;          // 0 to 100; cgroup v1 only
  bool oom_kill_disable = false;              // cgroup v1 only
  double cpus = 0;                            // 0: none
  std::int64_t cpu_shares = 0;                // 0: the kernel's, 1024
  std::string cpuset;                         // "0-3,5"; empty: all
  std::optional<int> oom_score_adj;
  std::map<std::string, std::string> labels;
  std::vector<std::string> exposed_ports;  // 80/tcp: expose, and the image's; only shown
  std::vector<std::string> image_volumes;  // absolute paths inside that the image keeps data at
  std::string stop_signal;                 // empty: the image's, else SIGTERM
  LoggingSpec logging;
  ProbeLimits probe_limits;

  // ---- supervision settings: a change of these applies in place
  ImageSource image_source;
  Duration stop_grace_period = std::chrono::seconds(10);
  RestartSpec restart;
  std::vector<Dependency> depends_on;
  std::vector<CheckSpec>
      checks;  // the Compose healthcheck first where there is one; empty: no health
  bool retries_given =
      false;  // the file (or its defaults) sets retries; else `run` and `check` warn
  std::vector<HookSpec> post_start, pre_stop;
  bool healthcheck_disabled = false;  // test: NONE or disable: true; no check named healthcheck
  std::vector<std::string> profiles;
  int scale = 1;
  int priority = 0;                  // the higher, the earlier it gets a restart of the budget
  PressureGuardSpec pressure_guard;  // the file's, where the service says nothing
  FlapSpec flap;
  CaptureSpec capture;

  bool operator==(const ServiceSpec&) const = default;

  // Entrypoint then command: what runs.
  std::vector<std::string> argv() const {
    std::vector<std::string> all = entrypoint.value_or(std::vector<std::string>{});
    if (command) all.insert(all.end(), command->begin(), command->end());
    return all;
  }
};

// Whether going from A to B needs a new container.
bool launch_settings_differ(const ServiceSpec& a, const ServiceSpec& b);

struct MetricsSpec {
  std::string listen = "127.0.0.1:9790";
  enum class Histograms { per_check, per_service, off } histograms = Histograms::per_service;
  int max_services = 1000;

  bool operator==(const MetricsSpec&) const = default;
};

struct LogSpec {
  std::string level = "info";   // trace, debug, info, warn, error
  std::string format = "text";  // json, or journald

  bool operator==(const LogSpec&) const = default;
};

struct ApiSpec {
  std::string group;  // of the socket; empty: root
  std::uint32_t mode = 0660;
  std::vector<std::string>
      read;  // users or @groups that may GET; empty: whoever can connect is admin
  std::vector<std::string> admin;

  bool operator==(const ApiSpec&) const = default;
};

enum class OnExit { stop, leave };

struct ProjectSpec {
  std::string name;  // top-level name, else the file's directory, as Compose normalises it
  std::string file;  // the YAML file, absolute
  std::string run_dir = "/run/keepwell";
  std::string data_dir = "/var/lib/keepwell";
  std::string runtime = "auto";  // auto, crun, runc, a path: the OCI runtime
  OnExit on_exit = OnExit::stop;
  int probes_at_once = 256;  // further ones wait their turn
  MetricsSpec metrics;
  LogSpec log;
  ApiSpec api;
  JournalSpec journal;
  RestartBudgetSpec restart_budget;
  PressureGuardSpec pressure_guard;
  IncidentsSpec incidents;
  std::vector<ServiceSpec> services;  // in file order, those that the profiles leave in

  bool operator==(const ProjectSpec&) const = default;
};

}  // namespace keepwell
