#include "config/spec_json.h"

#include <nlohmann/json.hpp>

#include "config/guard_fields.h"
#include "config/network_fields.h"
#include "config/spec_names.h"
#include "config/utf8.h"

namespace keepwell {
namespace {

using Json = nlohmann::ordered_json;

// ---- the fields of every spec, once for both directions. IO is a Writer or a Reader.

template <class Io>
void fields(Io& io, HttpCheck& s) {
  io("method", s.method);
  io("scheme", s.scheme);
  io("host", s.host);
  io("port", s.port);
  io("path", s.path);
  io("headers", s.headers);
  io("statuses", s.statuses);
  io("body_regex", s.body_regex);
  io("redirects_max", s.redirects_max);
  io("redirect_hosts", s.redirect_hosts);
  io("tls_verify", s.tls_verify);
  io("tls_server_name", s.tls_server_name);
  io("tls_ca", s.tls_ca);
  io("content", s.content);
}

template <class Io>
void fields(Io& io, TcpCheck& s) {
  io("host", s.host);
  io("port", s.port);
  io("send", s.send);
  io("expect", s.expect);
}

template <class Io>
void fields(Io& io, GrpcCheck& s) {
  io("host", s.host);
  io("port", s.port);
  io("service", s.service);
  io("tls", s.tls);
  io("tls_verify", s.tls_verify);
  io("tls_server_name", s.tls_server_name);
  io("tls_ca", s.tls_ca);
}

template <class Io>
void fields(Io& io, HostHookSpec& s) {
  io("command", s.command);
  io("timeout", s.timeout);
}

template <class Io>
void fields(Io& io, WebhookSpec& s) {
  io("request", s.request);
  io("secret_file", s.secret_file);
  io("timeout", s.timeout);
}

template <class Io>
void fields(Io& io, ActionSpec& s) {
  io("kind", s.kind);
  io("name", s.name);
  io("first", s.first);
  if (s.kind == ActionKind::hook) io("hook", s.hook);
  if (s.kind == ActionKind::webhook) io("webhook", s.webhook);
}

template <class Io>
void fields(Io& io, CheckSpec& s) {
  io("name", s.name);
  io("kind", s.kind);
  io("test", s.test);
  io("shell", s.shell);
  if (s.kind == ProbeKind::http) io("http", s.http);
  if (s.kind == ProbeKind::tcp) io("tcp", s.tcp);
  if (s.kind == ProbeKind::grpc) io("grpc", s.grpc);
  io("interval", s.interval);
  io("timeout", s.timeout);
  io("start_period", s.start_period);
  io("start_interval", s.start_interval);
  io("retries", s.retries);
  io("max_starting", s.max_starting);
  io("on_unhealthy", s.on_unhealthy);
  io("actions", s.actions);
  io("success_threshold", s.success_threshold);
  io("initial_delay", s.initial_delay);
  io("jitter", s.jitter);
  io("observe", s.observe);
  io("role", s.role);
}

template <class Io>
void fields(Io& io, RestartSpec& s) {
  io("policy", s.policy);
  io("max_attempts", s.max_attempts);
  io("delay", s.delay);
  io("factor", s.factor);
  io("max_delay", s.max_delay);
  io("jitter", s.jitter);
  io("reset_after", s.reset_after);
  io("limit_count", s.limit_count);
  io("limit_window", s.limit_window);
}

template <class Io>
void fields(Io& io, Dependency& s) {
  io("service", s.service);
  io("condition", s.condition);
  io("restart", s.restart);
  io("required", s.required);
  io("excuses", s.excuses);
}

template <class Io>
void fields(Io& io, LoggingSpec& s) {
  io("driver", s.driver);
  io("file_bytes_max", s.file_bytes_max);
  io("files_max", s.files_max);
}

template <class Io>
void fields(Io& io, ProbeLimits& s) {
  io("pids", s.pids);
  io("memory_bytes", s.memory_bytes);
}

template <class Io>
void fields(Io& io, Ulimit& s) {
  io("name", s.name);
  io("soft", s.soft);
  io("hard", s.hard);
}

template <class Io>
void fields(Io& io, MountSpec& s) {
  io("kind", s.kind);
  io("target", s.target);
  io("read_only", s.read_only);
  io("source", s.source);
  io("create_source", s.create_source);
  io("propagation", s.propagation);
  io("recursive", s.recursive);
  io("volume_key", s.volume_key);
  io("external", s.external);
  io("copy", s.copy);
  io("driver_opts", s.driver_opts);
  io("options", s.options);
}

template <class Io>
void fields(Io& io, FileSpec& s) {
  io("secret", s.secret);
  io("name", s.name);
  io("target", s.target);
  io("uid", s.uid);
  io("gid", s.gid);
  io("mode", s.mode);
  io("path", s.path);
  io("variable", s.variable);
  io("content", s.content);
}

template <class Io>
void fields(Io& io, DeviceSpec& s) {
  io("source", s.source);
  io("target", s.target);
  io("permissions", s.permissions);
}

template <class Io>
void fields(Io& io, HookSpec& s) {
  io("command", s.command);
  io("user", s.user);
  io("privileged", s.privileged);
  io("working_dir", s.working_dir);
  io("environment", s.environment);
}

template <class Io>
void fields(Io& io, ImageSource& s) {
  io("from", s.from);
  io("pull", s.pull);
  io("refresh", s.refresh);
  io("platform", s.platform);
  io("bytes_max", s.bytes_max);
}

template <class Io>
void fields(Io& io, ServiceSpec& s) {
  io("name", s.name);
  io("container_name", s.container_name);
  io("runtime", s.runtime);
  io("exec", s.exec);
  io("image", s.image);
  io("image_id", s.image_id);
  io("rootfs", s.rootfs);
  io("entrypoint", s.entrypoint);
  io("command", s.command);
  io("environment", s.environment);
  io("working_dir", s.working_dir);
  io("user", s.user);
  io("hostname", s.hostname);
  io("domainname", s.domainname);
  io("network_mode", s.network_mode);
  io("networks", s.networks);
  io("networks_implicit", s.networks_implicit);
  io("ports", s.ports);
  io("pid_mode", s.pid_mode);
  io("uts_mode", s.uts_mode);
  io("cgroup_mode", s.cgroup_mode);
  io("ipc_mode", s.ipc_mode);
  io("group_add", s.group_add);
  io("extra_hosts", s.extra_hosts);
  io("dns", s.dns);
  io("dns_search", s.dns_search);
  io("dns_opt", s.dns_opt);
  io("sysctls", s.sysctls);
  io("annotations", s.annotations);
  io("cap_add", s.cap_add);
  io("cap_drop", s.cap_drop);
  io("privileged", s.privileged);
  io("read_only", s.read_only);
  io("no_new_privileges", s.no_new_privileges);
  io("init", s.init);
  io("tty", s.tty);
  io("stdin_open", s.stdin_open);
  io("seccomp", s.seccomp);
  io("apparmor", s.apparmor);
  io("unmasked", s.unmasked);
  io("mounts", s.mounts);
  io("files", s.files);
  io("devices", s.devices);
  io("device_cgroup_rules", s.device_cgroup_rules);
  io("shm_bytes", s.shm_bytes);
  io("ulimits", s.ulimits);
  io("pids_limit", s.pids_limit);
  io("memory_bytes", s.memory_bytes);
  io("memory_swap_bytes", s.memory_swap_bytes);
  io("memory_reservation_bytes", s.memory_reservation_bytes);
  io("mem_swappiness", s.mem_swappiness);
  io("oom_kill_disable", s.oom_kill_disable);
  io("cpus", s.cpus);
  io("cpu_shares", s.cpu_shares);
  io("cpuset", s.cpuset);
  io("oom_score_adj", s.oom_score_adj);
  io("labels", s.labels);
  io("exposed_ports", s.exposed_ports);
  io("image_volumes", s.image_volumes);
  io("stop_signal", s.stop_signal);
  io("logging", s.logging);
  io("probe_limits", s.probe_limits);
  io("image_source", s.image_source);
  io("stop_grace_period", s.stop_grace_period);
  io("restart", s.restart);
  io("depends_on", s.depends_on);
  io("checks", s.checks);
  io("retries_given", s.retries_given);
  io("post_start", s.post_start);
  io("pre_stop", s.pre_stop);
  io("healthcheck_disabled", s.healthcheck_disabled);
  io("profiles", s.profiles);
  io("scale", s.scale);
  io("priority", s.priority);
  io("pressure_guard", s.pressure_guard);
  io("flap", s.flap);
  io("capture", s.capture);
}

template <class Io>
void fields(Io& io, MetricsSpec& s) {
  io("listen", s.listen);
  io("histograms", s.histograms);
  io("max_services", s.max_services);
}

template <class Io>
void fields(Io& io, LogSpec& s) {
  io("level", s.level);
  io("format", s.format);
}

template <class Io>
void fields(Io& io, ApiSpec& s) {
  io("group", s.group);
  io("mode", s.mode);
  io("read", s.read);
  io("admin", s.admin);
}

template <class Io>
void fields(Io& io, ProjectSpec& s) {
  io("name", s.name);
  io("file", s.file);
  io("run_dir", s.run_dir);
  io("data_dir", s.data_dir);
  io("runtime", s.runtime);
  io("on_exit", s.on_exit);
  io("probes_at_once", s.probes_at_once);
  io("metrics", s.metrics);
  io("log", s.log);
  io("api", s.api);
  io("journal", s.journal);
  io("restart_budget", s.restart_budget);
  io("pressure_guard", s.pressure_guard);
  io("incidents", s.incidents);
  io("services", s.services);
}

// ---- values

// Text that JSON cannot hold as it is becomes {"hex": "..."}.
Json encode(const std::string& text) {
  if (find_bad_utf8(text) == std::string_view::npos) return text;
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15U];
  }
  return Json{{"hex", hex}};
}

std::string decode_text(const Json& json) {
  if (!json.is_object()) return json.get<std::string>();
  auto hex = json.at("hex").get<std::string>();
  std::string text;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    text += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return text;
}

struct Writer {
  Json out = Json::object();

  template <class T>
  void operator()(const char* name, const T& value) {
    out[name] = write(value);
  }

  static Json write(const std::string& value) { return encode(value); }
  static Json write(Duration value) { return value.count(); }
  template <class T>
    requires std::is_arithmetic_v<T>
  static Json write(T value) {
    return value;
  }
  template <class T>
    requires std::is_enum_v<T>
  static Json write(T value) {
    return std::string(name_of(value));
  }
  template <class T>
  static Json write(const std::optional<T>& value) {
    return value ? write(*value) : Json(nullptr);
  }
  template <class A, class B>
  static Json write(const std::pair<A, B>& value) {
    return Json::array({write(value.first), write(value.second)});
  }
  template <class T>
  static Json write(const std::vector<T>& values) {
    Json list = Json::array();
    for (const T& value : values) list.push_back(write(value));
    return list;
  }
  static Json write(const std::map<std::string, std::string>& values) {
    Json list = Json::array();  // of pairs, since a key may be any bytes too
    for (const auto& value : values) list.push_back(write(value));
    return list;
  }
  template <class T>
    requires std::is_class_v<T>
  static Json write(const T& value) {
    Writer inner;
    T copy = value;  // fields() serves the reader too, which needs it mutable
    fields(inner, copy);
    return std::move(inner.out);
  }
};

struct Reader {
  const Json& in;

  template <class T>
  void operator()(const char* name, T& value) {
    auto found = in.find(name);
    if (found != in.end()) read(*found, value);
  }

  static void read(const Json& json, std::string& value) { value = decode_text(json); }
  static void read(const Json& json, Duration& value) {
    value = Duration{json.get<std::int64_t>()};
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  static void read(const Json& json, T& value) {
    value = json.get<T>();
  }
  template <class T>
    requires std::is_enum_v<T>
  static void read(const Json& json, T& value) {
    auto word = json.get<std::string>();
    Names names = names_of(value);
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == word) {
        value = static_cast<T>(i);
        return;
      }
    }
    throw std::invalid_argument("the word " + word + " is not known to this version");
  }
  template <class T>
  static void read(const Json& json, std::optional<T>& value) {
    if (json.is_null()) {
      value.reset();
      return;
    }
    T inner{};
    read(json, inner);
    value = std::move(inner);
  }
  template <class A, class B>
  static void read(const Json& json, std::pair<A, B>& value) {
    read(json.at(0), value.first);
    read(json.at(1), value.second);
  }
  template <class T>
  static void read(const Json& json, std::vector<T>& values) {
    if (!json.is_array()) throw std::invalid_argument("a list is missing");
    values.clear();
    for (const Json& item : json) {
      T value{};
      read(item, value);
      values.push_back(std::move(value));
    }
  }
  static void read(const Json& json, std::map<std::string, std::string>& values) {
    std::vector<std::pair<std::string, std::string>> list;
    read(json, list);
    values.clear();
    for (auto& [key, value] : list) values[key] = std::move(value);
  }
  template <class T>
    requires std::is_class_v<T>
  static void read(const Json& json, T& value) {
    if (!json.is_object()) throw std::invalid_argument("an object is missing");
    Reader inner{json};
    fields(inner, value);
  }
};

}  // namespace

std::string project_to_json(const ProjectSpec& project) { return Writer::write(project).dump(); }

Result<ProjectSpec> project_from_json(std::string_view text) {
  try {
    ProjectSpec project;
    Reader::read(Json::parse(text), project);
    return project;
  } catch (const std::exception& e) {
    return fail(Errc::invalid, std::string("cannot read the stored config: ") + e.what());
  }
}

std::vector<std::pair<std::string, std::string>> service_fields(const ServiceSpec& service) {
  std::vector<std::pair<std::string, std::string>> out;
  Json json = Writer::write(service);
  for (const auto& [name, value] : json.items()) out.emplace_back(name, value.dump());
  return out;
}

}  // namespace keepwell
