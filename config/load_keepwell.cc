// Our own keys: x-keepwell at the top of the file and in a service. What later versions bring is
// listed here by name, so that it is refused and not mistaken for a typing slip.
#include <algorithm>
#include <charconv>

#include "config/draft.h"

namespace keepwell {
namespace {

// ---- service

void read_rootfs(const Field& f, ServiceDraft& d) {
  std::string path;
  if (!read_text(f.context, "rootfs", f.value(), path)) return;
  if (path.empty()) {
    f.error("rootfs is empty; name a directory");
    return;
  }
  d.spec.rootfs = absolute_path(f.context, path);
}

void read_service_runtime(const Field& f, ServiceDraft& d) {
  read_enum(f.context, "x-keepwell.runtime", f.value(), d.spec.runtime);
}

void read_exec(const Field& f, ServiceDraft& d) {
  read_enum(f.context, "exec", f.value(), d.spec.exec);
}

void read_service_on_unhealthy(const Field& f, ServiceDraft& d) {
  read_on_unhealthy(f.context, f.value(), d.on_unhealthy);
}

void read_probe_pids(const Field& f, ProbeLimits& limits) {
  read_integer(f.context, "probe_limits.pids", f.value(), 1, 4'194'304, limits.pids);
}
void read_probe_memory(const Field& f, ProbeLimits& limits) {
  read_bytes(f.context, "probe_limits.memory", f.value(), limits.memory_bytes);
}

constexpr Key<ProbeLimits> kProbeLimitKeys[] = {{"pids", read_probe_pids},
                                                {"memory", read_probe_memory}};

void read_probe_limits(const Field& f, ServiceDraft& d) {
  read_map(f.context, f.value(), "probe_limits", kProbeLimitKeys, d.spec.probe_limits);
}

void read_service_restart(const Field& f, ServiceDraft& d) {
  read_restart_tuning(f.context, f.value(), d.spec.restart);
}

constexpr Key<ServiceDraft> kServiceKeys[] = {
    {"rootfs", read_rootfs},
    {"image", read_image_source},
    {"runtime", read_service_runtime},
    {"exec", read_exec},
    {"on_unhealthy", read_service_on_unhealthy},
    {"probe_limits", read_probe_limits},
    {"checks", read_checks},
    {"restart", read_service_restart},
    {"hooks", read_named_hooks},
    {"priority", read_priority},
    {"capture", read_capture},
    {"flap", read_flap},
    {"pressure_guard", read_service_pressure_guard},
};

// ---- top level

bool is_port(std::string_view text) {
  unsigned value = 0;
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, value);
  return !text.empty() && error == std::errc{} && stop == end && value <= 65535;
}

void read_listen(const Field& f, MetricsSpec& m) {
  std::string text;
  if (!read_text(f.context, "metrics.listen", f.value(), text)) return;
  std::size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon == std::string::npos ? 0 : colon);
  bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  bool good = colon != std::string::npos && is_port(std::string_view(text).substr(colon + 1)) &&
              (bracketed || host.find_first_of(":[] \t/") == std::string::npos);
  if (!good) {
    f.error("metrics.listen " + in_quotes(text) +
            " is no address; write HOST:PORT, such as 127.0.0.1:9790");
    return;
  }
  m.listen = std::move(text);
}

void read_histograms(const Field& f, MetricsSpec& m) {
  read_enum(f.context, "metrics.histograms", f.value(), m.histograms);
}

void read_max_services(const Field& f, MetricsSpec& m) {
  std::int64_t value = 0;
  if (read_integer(f.context, "metrics.max_services", f.value(), 0, 1'000'000, value)) {
    m.max_services = static_cast<int>(value);
  }
}

constexpr Key<MetricsSpec> kMetricsKeys[] = {
    {"listen", read_listen}, {"histograms", read_histograms}, {"max_services", read_max_services}};

void read_level(const Field& f, LogSpec& log) {
  constexpr std::string_view kLevels[] = {"trace", "debug", "info", "warn", "error"};
  std::size_t which = 0;
  if (read_choice(f.context, "log.level", f.value(), kLevels, which)) log.level = kLevels[which];
}
void read_format(const Field& f, LogSpec& log) {
  constexpr std::string_view kFormats[] = {"text", "json", "journald"};
  std::size_t which = 0;
  if (read_choice(f.context, "log.format", f.value(), kFormats, which)) {
    log.format = kFormats[which];
  }
}

constexpr Key<LogSpec> kLogKeys[] = {{"level", read_level}, {"format", read_format}};

void read_group(const Field& f, ApiSpec& api) {
  read_text(f.context, "api.group", f.value(), api.group);
}
void read_api_mode(const Field& f, ApiSpec& api) {
  std::uint32_t mode = 0;
  if (!read_mode(f.context, "api.mode", f.value(), mode)) return;
  if (mode > 0777) {
    f.error("api.mode " + in_quotes(f.value().text) +
            " has more than the rights of owner, group and "
            "others; write octal digits such as 0660");
    return;
  }
  api.mode = mode;
}
void read_readers(const Field& f, ApiSpec& api) {
  read_text_or_list(f.context, "api.read", f.value(), api.read);
}
void read_admins(const Field& f, ApiSpec& api) {
  read_text_or_list(f.context, "api.admin", f.value(), api.admin);
}

constexpr Key<ApiSpec> kApiKeys[] = {
    {"group", read_group}, {"mode", read_api_mode}, {"read", read_readers}, {"admin", read_admins}};

void read_default_checks(const Field& f, Defaults& defaults) {
  check_default_healthcheck(f.context, f.value());
  if (f.value().is_mapping()) defaults.healthcheck = &f.value();
}
void read_defaults_restart(const Field& f, Defaults& defaults) {
  read_default_restart(f.context, f.value(), defaults.restart);
}
void read_default_logging(const Field& f, Defaults& defaults) {
  read_logging(f.context, f.value(), defaults.logging);
}

constexpr Key<Defaults> kDefaultsKeys[] = {{"healthcheck", read_default_checks},
                                           {"network_mode", read_default_network_mode},
                                           {"restart", read_defaults_restart},
                                           {"logging", read_default_logging}};

void read_directory(const Field& f, std::string& out) {
  std::string path;
  if (!read_text(f.context, f.name(), f.value(), path)) return;
  if (path.empty()) {
    f.error(f.name() + " is empty; name a directory");
    return;
  }
  out = absolute_path(f.context, path);
}

void read_run_dir(const Field& f, ProjectSpec& p) { read_directory(f, p.run_dir); }
void read_data_dir(const Field& f, ProjectSpec& p) { read_directory(f, p.data_dir); }

void read_runtime(const Field& f, ProjectSpec& p) {
  std::string text;
  if (!read_text(f.context, "x-keepwell.runtime", f.value(), text)) return;
  if (text == "process") {
    f.context.default_runtime = RuntimeKind::process;
  } else if (text.find('/') != std::string::npos) {
    p.runtime = absolute_path(f.context, text);
  } else {
    constexpr std::string_view kRuntimes[] = {"auto", "crun", "runc", "process", "/PATH"};
    std::size_t which = 0;
    if (read_choice(f.context, "x-keepwell.runtime", f.value(), kRuntimes, which)) {
      p.runtime = kRuntimes[which];
    }
  }
}

void read_metrics(const Field& f, ProjectSpec& p) {
  read_map(f.context, f.value(), "x-keepwell.metrics", kMetricsKeys, p.metrics);
}
void read_log(const Field& f, ProjectSpec& p) {
  read_map(f.context, f.value(), "x-keepwell.log", kLogKeys, p.log);
}
void read_api(const Field& f, ProjectSpec& p) {
  read_map(f.context, f.value(), "x-keepwell.api", kApiKeys, p.api);
}
void read_defaults(const Field& f, ProjectSpec&) {
  Defaults defaults;
  read_map(f.context, f.value(), "x-keepwell.defaults", kDefaultsKeys, defaults);
  f.context.defaults = defaults;
}
void read_probes_at_once(const Field& f, ProjectSpec& p) {
  std::int64_t value = 0;
  if (read_integer(f.context, "probes_at_once", f.value(), 1, 100'000, value)) {
    p.probes_at_once = static_cast<int>(value);
  }
}
void read_on_exit(const Field& f, ProjectSpec& p) {
  read_enum(f.context, "on_exit", f.value(), p.on_exit);
}

constexpr Key<ProjectSpec> kProjectKeys[] = {
    {"run_dir", read_run_dir},
    {"data_dir", read_data_dir},
    {"runtime", read_runtime},
    {"metrics", read_metrics},
    {"log", read_log},
    {"api", read_api},
    {"defaults", read_defaults},
    {"on_exit", read_on_exit},
    {"probes_at_once", read_probes_at_once},
    {"restart_budget", read_restart_budget},
    {"pressure_guard", read_pressure_guard},
    {"incidents", read_incidents},
    {"journal", read_journal},
};

}  // namespace

void read_service_keepwell(const Field& f, ServiceDraft& d) {
  read_map(f.context, f.value(), "x-keepwell of service " + d.spec.name, kServiceKeys, d);
}

void read_project_keepwell(LoadContext& context, const Node& node, ProjectSpec& project) {
  read_map(context, node, "x-keepwell", kProjectKeys, project);
}

}  // namespace keepwell
