// The keys of a service, and what can only be judged once all of them are read.
#include <algorithm>

#include "config/draft.h"

namespace keepwell {
namespace {

bool is_name(std::string_view text, bool strict_start) {
  if (text.empty()) return false;
  auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (strict_start && !letter(text.front())) return false;
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return letter(c) || c == '.' || c == '_' || c == '-'; });
}

void read_container_name(const Field& f, ServiceDraft& d) {
  std::string name;
  if (!read_text(f.context, "container_name", f.value(), name)) return;
  if (!is_name(name, true) || name.size() < 2 || name.size() > 128) {
    f.error("container_name " + in_quotes(name) +
            " is no name; write two or more letters, digits, _ . or -, a letter or digit first");
    return;
  }
  d.spec.container_name = std::move(name);
}

void read_working_dir(const Field& f, ServiceDraft& d) {
  read_text(f.context, "working_dir", f.value(), d.spec.working_dir);
}
void read_user(const Field& f, ServiceDraft& d) {
  read_text(f.context, "user", f.value(), d.spec.user);
}
void read_stop_grace_period(const Field& f, ServiceDraft& d) {
  read_duration(f.context, "stop_grace_period", f.value(), d.spec.stop_grace_period);
}
void read_init(const Field& f, ServiceDraft& d) {
  read_bool(f.context, "init", f.value(), d.spec.init);
}
void read_tty(const Field& f, ServiceDraft& d) {
  read_bool(f.context, "tty", f.value(), d.spec.tty);
}
void read_stdin_open(const Field& f, ServiceDraft& d) {
  read_bool(f.context, "stdin_open", f.value(), d.spec.stdin_open);
}
void read_read_only(const Field& f, ServiceDraft& d) {
  read_bool(f.context, "read_only", f.value(), d.spec.read_only);
}
void read_privileged(const Field& f, ServiceDraft& d) {
  read_bool(f.context, "privileged", f.value(), d.spec.privileged);
}
void read_scale(const Field& f, ServiceDraft& d) {
  std::int64_t value = 0;
  if (read_integer(f.context, "scale", f.value(), 0, 10'000, value)) {
    d.spec.scale = static_cast<int>(value);
  }
}

void read_labels(const Field& f, ServiceDraft& d) {
  std::vector<NamedValue> labels;
  if (!read_named_values(f.context, "labels", f.value(), labels)) return;
  for (NamedValue& label : labels) {
    if (label.name.empty()) {
      f.context.report.error(label.place, "a label has no name; write NAME: value");
    } else if (label.name.rfind("com.docker.compose.", 0) == 0) {
      f.context.report.error(label.place, "label " + in_quotes(label.name) +
                                              " is one that keepwell sets itself; remove it");
    } else {
      d.spec.labels[label.name] = label.value.value_or("");
    }
  }
}

void read_profiles(const Field& f, ServiceDraft& d) {
  if (!read_text_list(f.context, "profiles", f.value(), d.spec.profiles)) return;
  for (const Node& item : f.value().items) {
    if (!is_name(item.text, true)) {
      f.context.report.error(item.place, "profile " + in_quotes(item.text) +
                                             " is no name; write letters, digits, _ . or -");
    }
  }
}

void read_storage_opt(const Field& f, ServiceDraft&) {
  f.context.report.warning(f.entry.key_place,
                           "storage_opt has no effect on the layers of keepwell; remove it");
}

constexpr std::string_view kLater = "this version has nothing in its place; remove it";
constexpr std::string_view kOneHost = "keepwell runs one host; remove it";

constexpr Key<ServiceDraft> kServiceKeys[] = {
    {"annotations", read_annotations},
    {"cap_add", read_cap_add},
    {"cap_drop", read_cap_drop},
    {"cgroup", read_cgroup},
    {"command", read_command},
    {"configs", read_configs},
    {"container_name", read_container_name},
    {"cpu_shares", read_cpu_shares},
    {"cpus", read_cpus},
    {"cpuset", read_cpuset},
    {"depends_on", read_depends_on},
    {"deploy", read_deploy},
    {"device_cgroup_rules", read_device_cgroup_rules},
    {"devices", read_devices},
    {"dns", read_dns},
    {"dns_opt", read_dns_opt},
    {"dns_search", read_dns_search},
    {"domainname", read_domainname},
    {"entrypoint", read_entrypoint},
    {"env_file", read_env_file},
    {"environment", read_environment},
    {"expose", read_expose},
    {"extra_hosts", read_extra_hosts},
    {"group_add", read_group_add},
    {"healthcheck", read_healthcheck},
    {"hostname", read_hostname},
    {"image", read_image},
    {"init", read_init},
    {"ipc", read_ipc},
    {"label_file", read_label_file},
    {"labels", read_labels},
    {"logging", read_logging_key},
    {"mac_address", read_mac_address},
    {"mem_limit", read_mem_limit},
    {"mem_reservation", read_mem_reservation},
    {"mem_swappiness", read_mem_swappiness},
    {"memswap_limit", read_memswap_limit},
    {"network_mode", read_network_mode},
    {"networks", read_networks},
    {"oom_kill_disable", read_oom_kill_disable},
    {"oom_score_adj", read_oom_score_adj},
    {"pid", read_pid},
    {"pids_limit", read_pids_limit},
    {"ports", read_ports},
    {"post_start", read_post_start},
    {"pre_stop", read_pre_stop},
    {"platform", read_platform},
    {"privileged", read_privileged},
    {"profiles", read_profiles},
    {"pull_policy", read_pull_policy},
    {"read_only", read_read_only},
    {"restart", read_restart},
    {"scale", read_scale},
    {"secrets", read_secrets},
    {"security_opt", read_security_opt},
    {"shm_size", read_shm_size},
    {"stdin_open", read_stdin_open},
    {"stop_grace_period", read_stop_grace_period},
    {"stop_signal", read_stop_signal},
    {"storage_opt", read_storage_opt},
    {"sysctls", read_sysctls},
    {"tmpfs", read_tmpfs},
    {"tty", read_tty},
    {"ulimits", read_ulimits},
    {"user", read_user},
    {"userns_mode", read_userns_mode},
    {"uts", read_uts},
    {"volumes", read_volumes},
    {"working_dir", read_working_dir},
    {"x-keepwell", read_service_keepwell},

    {"attach", nullptr, "read the output with keepwell logs -f"},
    {"blkio_config", nullptr, kLater},
    {"build", nullptr, "build beforehand and name the result in image or x-keepwell.image"},
    {"cgroup_parent", nullptr, "keepwell keeps services in its own cgroup; remove it"},
    {"cpu_count", nullptr, "use cpus"},
    {"cpu_percent", nullptr, "use cpus"},
    {"cpu_period", nullptr, "use cpus"},
    {"cpu_quota", nullptr, "use cpus"},
    {"cpu_rt_period", nullptr, "use cpus"},
    {"cpu_rt_runtime", nullptr, "use cpus"},
    {"credential_spec", nullptr, "it is for Windows; remove it"},
    {"develop", nullptr, "it is for docker compose watch; remove it"},
    {"external_links", nullptr, "services find each other by name; remove it"},
    {"gpus", nullptr, "use privileged: true"},
    {"isolation", nullptr, "it is for Windows; remove it"},
    {"links", nullptr,
     "services find each other by name: use networks with aliases, and depends_on for the order of "
     "starts"},
    {"models", nullptr, kLater},
    {"pre_start", nullptr,
     "use a service of its own and depends_on with "
     "service_completed_successfully"},
    {"provider", nullptr, kOneHost},
    {"pull_refresh_after", nullptr, "use pull_policy: daily, weekly or every_DURATION"},
    {"runtime", nullptr, "use x-keepwell.runtime"},
    {"use_api_socket", nullptr, kLater},
    {"volumes_from", nullptr, "name the volumes in volumes"},
};

// Keys that mean nothing to a plain process on the host.
constexpr std::string_view kContainerOnly[] = {
    "annotations",  "cap_add",      "cap_drop", "cgroup",     "configs",    "device_cgroup_rules",
    "devices",      "dns",          "dns_opt",  "dns_search", "domainname", "extra_hosts",
    "expose",       "group_add",    "hostname", "init",       "ipc",        "mac_address",
    "network_mode", "networks",     "pid",      "ports",      "privileged", "read_only",
    "secrets",      "security_opt", "shm_size", "sysctls",    "tmpfs",      "uts",
    "volumes"};

void check_process(LoadContext& context, const ServiceDraft& d) {
  for (std::string_view key : kContainerOnly) {
    if (!d.has(key) || (key == "network_mode" && d.spec.network_mode == "host")) continue;
    context.report.warning(d.place_of(key), std::string(key) +
                                                " has no effect with x-keepwell.runtime: process; "
                                                "remove it" +
                                                (key == "init" ? " (keepwell itself reaps what "
                                                                 "such a service leaves behind)"
                                                               : ""));
  }
  if (!d.spec.rootfs.empty()) {
    context.report.warning(d.place_of("x-keepwell"),
                           "rootfs has no effect with runtime: process; remove one of them");
  }
}

// Whether there is neither an image nor a directory, which check_oci reports.
bool runs_from_nothing(const ServiceDraft& d) {
  return d.spec.runtime == RuntimeKind::oci && d.spec.rootfs.empty() && !d.runs_image();
}

void check_oci(LoadContext& context, const ServiceDraft& d) {
  if (!d.spec.working_dir.empty() && d.spec.working_dir.front() != '/') {
    context.report.error(d.place_of("working_dir"),
                         "working_dir " + in_quotes(d.spec.working_dir) +
                             " is relative; write the whole path inside the container");
  }
  if (runs_from_nothing(d)) {
    context.report.error(d.place_of("image"),
                         "service " + d.spec.name +
                             " has nothing to run from; write image: NAME, name a directory in "
                             "x-keepwell.rootfs, or set x-keepwell.runtime: process");
  }
}

void check_service(LoadContext& context, ServiceDraft& d) {
  ServiceSpec& spec = d.spec;
  if (spec.runtime == RuntimeKind::process) {
    check_process(context, d);
    if (!spec.working_dir.empty()) spec.working_dir = absolute_path(context, spec.working_dir);
  } else {
    check_oci(context, d);
  }
  check_image(context, d);
  std::vector<std::string> argv = spec.argv();
  if (d.argv_bad || (argv.empty() && (d.runs_image() || runs_from_nothing(d)))) {
    // Nothing more can be said about it, or the image says it.
  } else if (argv.empty()) {
    context.report.error(d.place_of("command"),
                         "service " + spec.name + " has nothing to run; write command: [...]");
  } else if (argv.front().empty()) {
    context.report.error(d.place_of(spec.entrypoint ? "entrypoint" : "command"),
                         "the program of service " + spec.name + " is an empty text");
  }
  if (!spec.container_name.empty() && spec.scale > 1) {
    context.report.error(d.place_of("container_name"),
                         "container_name can name one container only, and scale is " +
                             std::to_string(spec.scale) + "; remove one of them");
  }
  if (spec.logging.driver == "none" && d.has("logging") &&
      d.entry->value.find("logging")->find("options") != nullptr) {
    context.report.warning(d.place_of("logging"), "options have no effect with driver: none");
  }
}

}  // namespace

ServiceDraft read_service(LoadContext& context, const Entry& entry) {
  ServiceDraft d;
  d.entry = &entry;
  d.spec.name = entry.key;
  d.spec.runtime = context.default_runtime;
  d.spec.pressure_guard = context.pressure_guard;
  if (context.defaults) {
    d.spec.restart = context.defaults->restart;
    d.spec.logging = context.defaults->logging;
  }
  if (!is_name(entry.key, false)) {
    context.report.error(entry.key_place, "service name " + in_quotes(entry.key) +
                                              " is not one; use letters, digits, _ . and -");
  }
  if (!entry.value.is_mapping()) {
    expect_map(context, entry.value, "service " + entry.key);
    return d;
  }
  read_map(context, entry.value, "service " + entry.key, kServiceKeys, d);
  finish_environment(context, d);
  finish_limits(context, d);
  finish_networks(context, d);
  finish_host(context, d);
  finish_mounts(context, d);
  finish_files(context, d);
  finish_checks(context, d);
  check_service(context, d);
  return d;
}

}  // namespace keepwell
