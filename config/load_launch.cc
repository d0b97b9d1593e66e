// Keys that say how a container's first process is made: what runs, with which rights and limits,
// and where its output goes.
#include <algorithm>
#include <array>

#include "config/draft.h"
#include "config/shell_words.h"
#include "config/signals.h"

namespace keepwell {
namespace {

// Those of Linux 5.9 and later, without CAP_.
constexpr std::string_view kCapabilities[] = {"ALL",
                                              "AUDIT_CONTROL",
                                              "AUDIT_READ",
                                              "AUDIT_WRITE",
                                              "BLOCK_SUSPEND",
                                              "BPF",
                                              "CHECKPOINT_RESTORE",
                                              "CHOWN",
                                              "DAC_OVERRIDE",
                                              "DAC_READ_SEARCH",
                                              "FOWNER",
                                              "FSETID",
                                              "IPC_LOCK",
                                              "IPC_OWNER",
                                              "KILL",
                                              "LEASE",
                                              "LINUX_IMMUTABLE",
                                              "MAC_ADMIN",
                                              "MAC_OVERRIDE",
                                              "MKNOD",
                                              "NET_ADMIN",
                                              "NET_BIND_SERVICE",
                                              "NET_BROADCAST",
                                              "NET_RAW",
                                              "PERFMON",
                                              "SETFCAP",
                                              "SETGID",
                                              "SETPCAP",
                                              "SETUID",
                                              "SYSLOG",
                                              "SYS_ADMIN",
                                              "SYS_BOOT",
                                              "SYS_CHROOT",
                                              "SYS_MODULE",
                                              "SYS_NICE",
                                              "SYS_PACCT",
                                              "SYS_PTRACE",
                                              "SYS_RAWIO",
                                              "SYS_RESOURCE",
                                              "SYS_TIME",
                                              "SYS_TTY_CONFIG",
                                              "WAKE_ALARM"};

void read_capabilities(const Field& f, std::vector<std::string>& out) {
  std::vector<std::string> names;
  if (!read_text_list(f.context, f.name(), f.value(), names)) return;
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::string name;
    for (char c : names[i]) name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    if (name.rfind("CAP_", 0) == 0) name.erase(0, 4);
    if (std::find(std::begin(kCapabilities), std::end(kCapabilities), name) ==
        std::end(kCapabilities)) {
      std::string_view near = nearest_name(name, kCapabilities);
      f.context.report.error(f.value().items[i].place,
                             "capability " + in_quotes(names[i]) + " does not exist; " +
                                 (near.empty() ? "write a name such as NET_ADMIN"
                                               : "did you mean " + std::string(near) + "?"));
    } else if (std::find(out.begin(), out.end(), name) == out.end()) {
      out.push_back(std::move(name));
    }
  }
}

void read_security_option(const Field& f, const Node& node, ServiceDraft& d) {
  std::string text;
  if (!read_text(f.context, "an item of security_opt", node, text)) return;
  std::size_t separator = text.find_first_of(":=");
  std::string key = text.substr(0, separator);
  std::string value = separator == std::string::npos ? "" : text.substr(separator + 1);
  if (key == "no-new-privileges") {
    if (value.empty() || value == "true") {
      d.spec.no_new_privileges = true;
    } else if (value == "false") {
      d.spec.no_new_privileges = false;
    } else {
      f.context.report.error(node.place,
                             "no-new-privileges is true or false, not " + in_quotes(value));
    }
  } else if (key == "seccomp" && !value.empty()) {
    d.spec.seccomp = value == "unconfined" ? value : absolute_path(f.context, value);
  } else if (key == "apparmor" && !value.empty()) {
    d.spec.apparmor = std::move(value);
  } else if (key == "systempaths" && value == "unconfined") {
    d.spec.unmasked = true;
  } else if (key == "label") {
    if (value != "disable") {  // which is how it is
      f.context.report.unsupported(node.place,
                                   "security_opt label is not supported, keepwell sets no SELinux "
                                   "labels; remove it");
    }
  } else if (key == "writable-cgroups") {
    f.context.report.unsupported(node.place,
                                 "security_opt writable-cgroups is not supported; use privileged");
  } else {
    constexpr std::string_view kKnown[] = {"no-new-privileges", "seccomp", "apparmor",
                                           "systempaths", "label"};
    std::string_view near = nearest_name(key, kKnown);
    f.context.report.error(node.place,
                           "security_opt " + in_quotes(text) + " is not known; " +
                               (near.empty() ? "write no-new-privileges:true, "
                                               "seccomp=FILE or apparmor=PROFILE"
                                             : "did you mean " + std::string(near) + "?"));
  }
}

constexpr std::string_view kUlimits[] = {
    "as",   "core",   "cpu",   "data", "fsize",  "locks",  "memlock",    "msgqueue",
    "nice", "nofile", "nproc", "rss",  "rtprio", "rttime", "sigpending", "stack"};

constexpr std::int64_t kUlimitMax = std::numeric_limits<std::int64_t>::max();

void read_soft(const Field& f, Ulimit& u) {
  read_integer(f.context, "ulimits." + u.name + ".soft", f.value(), -1, kUlimitMax, u.soft);
}
void read_hard(const Field& f, Ulimit& u) {
  read_integer(f.context, "ulimits." + u.name + ".hard", f.value(), -1, kUlimitMax, u.hard);
}

constexpr Key<Ulimit> kUlimitKeys[] = {{"soft", read_soft}, {"hard", read_hard}};

void read_ulimit(LoadContext& context, const Entry& entry, ServiceDraft& d) {
  if (std::find(std::begin(kUlimits), std::end(kUlimits), entry.key) == std::end(kUlimits)) {
    report_unknown_key(context, entry, "ulimits", kUlimits);
    return;
  }
  Ulimit u;
  u.name = entry.key;
  if (entry.value.is_mapping()) {
    read_map(context, entry.value, "ulimits." + u.name, kUlimitKeys, u);
    for (const char* key : {"soft", "hard"}) {
      if (entry.value.find(key) == nullptr) {
        context.report.error(entry.key_place, "ulimits." + u.name + " has no " + key +
                                                  "; write { soft: N, hard: N }");
      }
    }
    bool above = u.hard != -1 && (u.soft == -1 || u.soft > u.hard);
    if (above) {
      context.report.error(entry.value.place,
                           "ulimits." + u.name + ".soft is above hard; lower it");
    }
  } else if (read_integer(context, "ulimits." + u.name, entry.value, -1, kUlimitMax, u.soft)) {
    u.hard = u.soft;
  }
  d.spec.ulimits.push_back(std::move(u));
}

// Drivers that Docker has and keepwell has not.
bool is_foreign_driver(std::string_view driver) {
  constexpr std::string_view kDocker[] = {"journald", "syslog", "gelf",    "fluentd",
                                          "awslogs",  "splunk", "etwlogs", "gcplogs"};
  return std::find(std::begin(kDocker), std::end(kDocker), driver) != std::end(kDocker);
}

void read_driver(const Field& f, LoggingSpec& logging) {
  std::string driver;
  if (!read_text(f.context, "logging.driver", f.value(), driver)) return;
  constexpr std::string_view kOwn[] = {"json-file", "local", "none"};
  if (std::find(std::begin(kOwn), std::end(kOwn), driver) != std::end(kOwn)) {
    logging.driver = std::move(driver);
  } else if (is_foreign_driver(driver)) {
    f.context.report.unsupported(
        f.value().place,
        "logging.driver " + driver + " is not supported; use json-file, local or none");
  } else {
    std::size_t ignored = 0;
    read_choice(f.context, "logging.driver", f.value(), kOwn, ignored);
  }
}

void read_max_size(const Field& f, LoggingSpec& logging) {
  if (f.value().is_null()) return;
  std::int64_t bytes = 0;
  if (f.value().is_scalar() && f.value().text == "-1") {
    f.context.report.unsupported(f.value().place,
                                 "max-size -1 (no limit) is not supported; write a size such as "
                                 "100m");
    return;
  }
  if (!read_bytes(f.context, "max-size", f.value(), bytes)) return;
  constexpr std::int64_t kSmallest = 4096;
  if (bytes < kSmallest) {
    f.error("max-size " + in_quotes(f.value().text) + " is too small; write 4k or more");
    return;
  }
  logging.file_bytes_max = static_cast<std::uint64_t>(bytes);
}

void read_max_file(const Field& f, LoggingSpec& logging) {
  if (f.value().is_null()) return;
  std::int64_t count = 0;
  if (read_integer(f.context, "max-file", f.value(), 1, 1000, count)) {
    logging.files_max = static_cast<int>(count);
  }
}

constexpr std::string_view kLogOption = "only max-size and max-file have an effect; remove it";

constexpr Key<LoggingSpec> kLogOptions[] = {
    {"max-size", read_max_size},           {"max-file", read_max_file},
    {"compress", nullptr, kLogOption},     {"env", nullptr, kLogOption},
    {"env-regex", nullptr, kLogOption},    {"labels", nullptr, kLogOption},
    {"labels-regex", nullptr, kLogOption}, {"max-buffer-size", nullptr, kLogOption},
    {"mode", nullptr, kLogOption},         {"tag", nullptr, kLogOption}};

void read_log_options(const Field& f, LoggingSpec& logging) {
  read_map(f.context, f.value(), "logging.options", kLogOptions, logging);
}

constexpr Key<LoggingSpec> kLoggingKeys[] = {{"driver", read_driver},
                                             {"options", read_log_options}};

void ignore_options(const Field&, LoggingSpec&) {}  // the driver's own, which is not there

constexpr Key<LoggingSpec> kForeignKeys[] = {{"driver", read_driver}, {"options", ignore_options}};

}  // namespace

bool read_words(const Field& f, std::optional<std::vector<std::string>>& out) {
  if (f.value().is_null()) return true;
  std::vector<std::string> words;
  if (f.value().is_scalar()) {
    Result<std::vector<std::string>> split = split_shell_words(f.value().text);
    if (!split) {
      f.error(f.name() + ": " + split.error().text);
      return false;
    }
    words = std::move(*split);
  } else if (!read_text_list(f.context, f.name(), f.value(), words)) {
    return false;
  }
  out = std::move(words);
  return true;
}

void read_command(const Field& f, ServiceDraft& d) {
  if (!read_words(f, d.spec.command)) d.argv_bad = true;
}
void read_entrypoint(const Field& f, ServiceDraft& d) {
  if (!read_words(f, d.spec.entrypoint)) d.argv_bad = true;
}
void read_cap_add(const Field& f, ServiceDraft& d) { read_capabilities(f, d.spec.cap_add); }
void read_cap_drop(const Field& f, ServiceDraft& d) { read_capabilities(f, d.spec.cap_drop); }

void read_security_opt(const Field& f, ServiceDraft& d) {
  if (!f.value().is_sequence()) {
    f.error("security_opt must be a list, not " + std::string(kind_name(f.value())));
    return;
  }
  for (const Node& item : f.value().items) read_security_option(f, item, d);
}

void read_ulimits(const Field& f, ServiceDraft& d) {
  if (!expect_map(f.context, f.value(), "ulimits")) return;
  for (const Entry& entry : f.value().entries) read_ulimit(f.context, entry, d);
}

void read_stop_signal(const Field& f, ServiceDraft& d) {
  std::string text;
  if (!read_text(f.context, "stop_signal", f.value(), text)) return;
  Result<int> number = parse_signal(text);
  if (!number) {
    f.error("stop_signal: " + number.error().text);
    return;
  }
  d.spec.stop_signal = signal_name(*number);
}

void read_logging(LoadContext& context, const Node& node, LoggingSpec& logging) {
  const Node* driver = node.find("driver");
  const bool foreign = driver != nullptr && is_foreign_driver(driver->text);
  read_map(context, node, "logging", foreign ? kForeignKeys : kLoggingKeys, logging);
}

void read_logging_key(const Field& f, ServiceDraft& d) {
  read_logging(f.context, f.value(), d.spec.logging);
}

}  // namespace keepwell
