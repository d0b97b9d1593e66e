// The keys of a service, and what can only be judged once all of them are read.
#include <algorithm>

#include "config/draft.h"

namespace keepwell {
namespace {

bool is_name(std::string_view text, bool strict_start) {
  if (text.empty()) return false;
  for (char c : text) {
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && c != '.' && c != '_' && c != '-') return false;
    if (strict_start && &c == &text.front() && !letter) return false;
  }
  return true;
}

void read_image(const Field& f, ServiceDraft& d) {
  std::string image;
  if (!read_text(f.context, "image", f.value(), image)) return;
  if (image.empty() || image.find_first_of(" \t\n") != std::string::npos) {
    f.error("image " + quoted(image) + " is not a reference; write name:tag");
    return;
  }
  d.spec.image = std::move(image);
}

void read_container_name(const Field& f, ServiceDraft& d) {
  std::string name;
  if (!read_text(f.context, "container_name", f.value(), name)) return;
  if (!is_name(name, true) || name.size() < 2 || name.size() > 128) {
    f.error("container_name " + quoted(name) +
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
void read_cpus(const Field& f, ServiceDraft& d) {
  read_number(f.context, "cpus", f.value(), 0, 100'000, d.spec.cpus);
}

void read_oom_score_adj(const Field& f, ServiceDraft& d) {
  std::int64_t value = 0;
  if (read_integer(f.context, "oom_score_adj", f.value(), -1000, 1000, value)) {
    d.spec.oom_score_adj = static_cast<int>(value);
  }
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
    } else {
      d.spec.labels[label.name] = label.value.value_or("");
    }
  }
}

void read_profiles(const Field& f, ServiceDraft& d) {
  if (!read_text_list(f.context, "profiles", f.value(), d.spec.profiles)) return;
  for (const Node& item : f.value().items) {
    if (!is_name(item.text, true)) {
      f.context.report.error(item.place, "profile " + quoted(item.text) +
                                             " is no name; write letters, digits, _ . or -");
    }
  }
}

constexpr std::string_view kLater = "this version has nothing in its place; remove it";
constexpr std::string_view kNetwork =
    "services have a private network with loopback, or network_mode: host or none";
constexpr std::string_view kVolumes =
    "put the files into x-keepwell.rootfs, which every container gets a layer of its own over";
constexpr std::string_view kOneHost = "keepwell runs one host; remove it";

constexpr Key<ServiceDraft> kServiceKeys[] = {
    {"cap_add", read_cap_add},
    {"cap_drop", read_cap_drop},
    {"command", read_command},
    {"container_name", read_container_name},
    {"cpus", read_cpus},
    {"depends_on", read_depends_on},
    {"entrypoint", read_entrypoint},
    {"env_file", read_env_file},
    {"environment", read_environment},
    {"healthcheck", read_healthcheck},
    {"hostname", read_hostname},
    {"image", read_image},
    {"init", read_init},
    {"labels", read_labels},
    {"logging", read_logging_key},
    {"mem_limit", read_mem_limit},
    {"network_mode", read_network_mode},
    {"oom_score_adj", read_oom_score_adj},
    {"pids_limit", read_pids_limit},
    {"privileged", read_privileged},
    {"profiles", read_profiles},
    {"read_only", read_read_only},
    {"restart", read_restart},
    {"scale", read_scale},
    {"security_opt", read_security_opt},
    {"stdin_open", read_stdin_open},
    {"stop_grace_period", read_stop_grace_period},
    {"stop_signal", read_stop_signal},
    {"tty", read_tty},
    {"ulimits", read_ulimits},
    {"user", read_user},
    {"working_dir", read_working_dir},
    {"x-keepwell", read_service_keepwell},

    {"annotations", nullptr, "use labels"},
    {"attach", nullptr, "read the output with keepwell logs -f"},
    {"blkio_config", nullptr, kLater},
    {"build", nullptr, "build beforehand and name the result in x-keepwell.rootfs"},
    {"cgroup", nullptr, "every service has a cgroup namespace of its own; remove it"},
    {"cgroup_parent", nullptr, "keepwell keeps services in its own cgroup; remove it"},
    {"configs", nullptr, kVolumes},
    {"cpu_count", nullptr, "use cpus"},
    {"cpu_percent", nullptr, "use cpus"},
    {"cpu_period", nullptr, "use cpus"},
    {"cpu_quota", nullptr, "use cpus"},
    {"cpu_rt_period", nullptr, "use cpus"},
    {"cpu_rt_runtime", nullptr, "use cpus"},
    {"cpu_shares", nullptr, "use cpus"},
    {"cpuset", nullptr, "use cpus"},
    {"credential_spec", nullptr, "it is for Windows; remove it"},
    {"deploy", nullptr, "use restart, mem_limit, cpus, pids_limit and scale"},
    {"develop", nullptr, "it is for docker compose watch; remove it"},
    {"device_cgroup_rules", nullptr, "use privileged: true"},
    {"devices", nullptr, "use privileged: true"},
    {"dns", nullptr, kNetwork},
    {"dns_opt", nullptr, kNetwork},
    {"dns_search", nullptr, kNetwork},
    {"domainname", nullptr, "use hostname"},
    {"expose", nullptr, "it publishes nothing; remove it"},
    {"extends", nullptr, "use a YAML anchor and <<: *name"},
    {"external_links", nullptr, kNetwork},
    {"extra_hosts", nullptr, "put them into etc/hosts of x-keepwell.rootfs"},
    {"gpus", nullptr, "use privileged: true"},
    {"group_add", nullptr, "use user, and the groups in etc/group of the root file system"},
    {"ipc", nullptr, "every service has an ipc namespace of its own; remove it"},
    {"isolation", nullptr, "it is for Windows; remove it"},
    {"label_file", nullptr, "use labels"},
    {"links", nullptr, "use depends_on for the order of starts"},
    {"mac_address", nullptr, kNetwork},
    {"mem_reservation", nullptr, "use mem_limit"},
    {"mem_swappiness", nullptr, "cgroup v2 has nothing like it; use mem_limit"},
    {"memswap_limit", nullptr, "use mem_limit"},
    {"models", nullptr, kLater},
    {"networks", nullptr, kNetwork},
    {"oom_kill_disable", nullptr, "cgroup v2 has nothing like it; use oom_score_adj"},
    {"pid", nullptr, "every service has a pid namespace of its own; remove it"},
    {"platform", nullptr, "services run on this machine's own; remove it"},
    {"ports", nullptr, "use network_mode: host, where a service's ports are the host's"},
    {"post_start", nullptr, kLater},
    {"pre_start", nullptr,
     "use a service of its own and depends_on with "
     "service_completed_successfully"},
    {"pre_stop", nullptr, "handle stop_signal in the service"},
    {"provider", nullptr, kOneHost},
    {"pull_policy", nullptr, "name a root file system in x-keepwell.rootfs"},
    {"pull_refresh_after", nullptr, "name a root file system in x-keepwell.rootfs"},
    {"runtime", nullptr, "use x-keepwell.runtime"},
    {"secrets", nullptr, kVolumes},
    {"shm_size", nullptr, kLater},
    {"storage_opt", nullptr, kLater},
    {"sysctls", nullptr, kLater},
    {"tmpfs", nullptr, kVolumes},
    {"use_api_socket", nullptr, kLater},
    {"userns_mode", nullptr, kLater},
    {"uts", nullptr, "every service has a uts namespace of its own; use hostname"},
    {"volumes", nullptr, kVolumes},
    {"volumes_from", nullptr, kVolumes},
};

// Keys that mean nothing to a plain process on the host.
constexpr std::string_view kContainerOnly[] = {"cap_add",    "cap_drop",    "hostname",
                                               "init",       "read_only",   "security_opt",
                                               "privileged", "network_mode"};

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

void check_oci(LoadContext& context, const ServiceDraft& d) {
  if (!d.spec.working_dir.empty() && d.spec.working_dir.front() != '/') {
    context.report.error(d.place_of("working_dir"),
                         "working_dir " + quoted(d.spec.working_dir) +
                             " is relative; write the whole path inside the container");
  }
  if (d.spec.rootfs.empty()) {
    context.report.error(
        d.place_of("image"),
        "service " + d.spec.name + " has no root file system" +
            (d.spec.image.empty() ? "" : ", and this version does not fetch images") +
            "; name a directory in x-keepwell.rootfs, or set x-keepwell.runtime: process");
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
  std::vector<std::string> argv = spec.argv();
  if (d.argv_bad) {
    // Nothing more can be said about it.
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
  if (context.defaults) {
    d.spec.restart = context.defaults->restart;
    d.spec.logging = context.defaults->logging;
  }
  if (!is_name(entry.key, false)) {
    context.report.error(entry.key_place, "service name " + quoted(entry.key) +
                                              " is not one; use letters, digits, _ . and -");
  }
  if (!entry.value.is_mapping()) {
    expect_map(context, entry.value, "service " + entry.key);
    return d;
  }
  read_map(context, entry.value, "service " + entry.key, kServiceKeys, d);
  finish_environment(context, d);
  finish_checks(context, d);
  check_service(context, d);
  return d;
}

}  // namespace keepwell
