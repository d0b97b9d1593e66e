#include "config/print.h"

#include <cstdio>
#include <string_view>

#include "config/bytes.h"
#include "config/duration.h"
#include "config/spec_names.h"
#include "config/yaml_writer.h"

namespace keepwell {
namespace {

void print_healthcheck(YamlWriter& w, const ServiceSpec& s) {
  if (s.healthcheck_disabled) {
    w.open("healthcheck");
    w.raw("disable", "true");
    w.close();
  }
  for (const CheckSpec& check : s.checks) {
    if (check.name != kHealthcheckName) continue;
    w.open("healthcheck");
    print_timing(w, check);
    w.open("x-keepwell");
    print_own_check_keys(w, check);
    w.close();
    w.close();
  }
}

// An image's root file system is not the file's own: whoever reads this again finds it anew.
void print_root(YamlWriter& w, const ServiceSpec& s) {
  const ImageSource& source = s.image_source;
  if (s.image_id.empty()) w.text_if("rootfs", s.rootfs);
  if (source.from.empty() && source.bytes_max == ImageSource{}.bytes_max) return;
  w.open("image");
  w.text_if("from", source.from);
  w.raw("max_size", format_bytes(source.bytes_max));
  w.close();
}

void print_pull(YamlWriter& w, const ImageSource& source) {
  w.text_if("platform", source.platform);
  if (source.pull == PullPolicy::refresh) {
    w.text("pull_policy", "every_" + format_duration(source.refresh));
  } else if (source.pull != PullPolicy::automatic) {
    w.raw("pull_policy", name_of(source.pull));
  }
}

void print_pressure_guard(YamlWriter& w, const PressureGuardSpec& s) {
  if (!s.on) return w.text("pressure_guard", "off");
  w.open("pressure_guard");
  w.real("cpu", s.cpu);
  w.real("memory", s.memory);
  w.real("io", s.io);
  w.duration("max_hold", s.max_hold);
  w.close();
}

void print_service_guards(YamlWriter& w, const ServiceSpec& s) {
  if (s.priority != 0) w.number("priority", s.priority);
  print_pressure_guard(w, s.pressure_guard);
  if (s.flap.on) {
    w.open("flap");
    w.number("window", s.flap.window);
    w.real("high", s.flap.high);
    w.real("low", s.flap.low);
    w.close();
  } else {
    w.text("flap", "off");
  }
  if (!s.capture.on) return w.text("capture", "off");
  w.open("capture");
  w.duration("timeout", s.capture.timeout);
  w.number("log_lines", s.capture.log_lines);
  w.list_if("command", s.capture.command);
  w.close();
}

void print_service_keepwell(YamlWriter& w, const ServiceSpec& s) {
  w.open("x-keepwell");
  w.raw("runtime", name_of(s.runtime));
  print_root(w, s);
  w.raw("exec", name_of(s.exec));
  w.open("probe_limits");
  w.number("pids", s.probe_limits.pids);
  w.number("memory", s.probe_limits.memory_bytes);
  w.close();
  const RestartSpec& r = s.restart;
  w.open("restart");
  w.duration("delay", r.delay);
  w.real("factor", r.factor);
  w.duration("max_delay", r.max_delay);
  w.real("jitter", r.jitter);
  w.duration("reset_after", r.reset_after);
  if (r.limit_count > 0) {
    w.open("limit");
    w.number("count", r.limit_count);
    w.duration("window", r.limit_window);
    w.close();
  }
  w.close();
  print_service_guards(w, s);
  bool opened = false;
  for (const CheckSpec& check : s.checks) {
    if (check.name == kHealthcheckName) continue;
    if (!opened) w.open("checks");
    opened = true;
    w.open(check.name);
    print_timing(w, check);
    print_own_check_keys(w, check);
    w.close();
  }
  if (opened) w.close();
  w.close();
}

void print_maps(YamlWriter& w, const ServiceSpec& s) {
  if (!s.environment.empty()) {
    w.open("environment");
    for (const auto& [name, value] : s.environment) w.text(name, value);
    w.close();
  }
  if (!s.labels.empty()) {
    w.open("labels");
    for (const auto& [name, value] : s.labels) w.text(name, value);
    w.close();
  }
  if (!s.depends_on.empty()) {
    w.open("depends_on");
    for (const Dependency& d : s.depends_on) {
      w.open(d.service);
      w.raw("condition", name_of(d.condition));
      if (d.restart) w.raw("restart", "true");
      if (!d.required) w.raw("required", "false");
      if (d.excuses) {
        w.open("x-keepwell");
        w.raw("excuses", "true");
        w.close();
      }
      w.close();
    }
    w.close();
  }
}

void print_service(YamlWriter& w, const ServiceSpec& s) {
  w.open(s.name);
  w.text_if("image", s.image);
  print_pull(w, s.image_source);
  w.text_if("container_name", s.container_name);
  if (s.entrypoint) w.list("entrypoint", *s.entrypoint);
  if (s.command) w.list("command", *s.command);
  w.text_if("working_dir", s.working_dir);
  w.text_if("user", s.user);
  print_service_networks(w, s);
  w.flag_if("init", s.init);
  w.flag_if("tty", s.tty);
  w.flag_if("stdin_open", s.stdin_open);
  print_container(w, s);
  print_maps(w, s);
  w.text_if("stop_signal", s.stop_signal);
  w.duration("stop_grace_period", s.stop_grace_period);
  std::string restart(name_of(s.restart.policy));
  if (s.restart.max_attempts > 0) restart += ":" + std::to_string(s.restart.max_attempts);
  w.raw("restart", "\"" + restart + "\"");
  w.open("logging");
  w.raw("driver", s.logging.driver);
  if (s.logging.driver != "none") {
    w.open("options");
    w.raw("max-size",
          yaml_quote(format_bytes(static_cast<std::int64_t>(s.logging.file_bytes_max))));
    w.raw("max-file", yaml_quote(std::to_string(s.logging.files_max)));
    w.close();
  }
  w.close();
  w.list_if("profiles", s.profiles);
  if (s.scale != 1) w.number("scale", s.scale);
  print_healthcheck(w, s);
  print_service_keepwell(w, s);
  w.close();
}

void print_project_keepwell(YamlWriter& w, const ProjectSpec& p) {
  w.open("x-keepwell");
  w.text("run_dir", p.run_dir);
  w.text("data_dir", p.data_dir);
  w.text("runtime", p.runtime);
  w.raw("on_exit", name_of(p.on_exit));
  w.number("probes_at_once", p.probes_at_once);
  w.open("metrics");
  w.text("listen", p.metrics.listen);
  w.raw("histograms", "\"" + std::string(name_of(p.metrics.histograms)) + "\"");
  w.number("max_services", p.metrics.max_services);
  w.close();
  w.open("log");
  w.text("level", p.log.level);
  w.text("format", p.log.format);
  w.close();
  w.open("api");
  w.text_if("group", p.api.group);
  char mode[16];
  std::snprintf(mode, sizeof mode, "\"%04o\"", p.api.mode);
  w.raw("mode", mode);
  w.list_if("read", p.api.read);
  w.list_if("admin", p.api.admin);
  w.close();
  w.open("journal");
  w.raw("max_size", yaml_quote(format_bytes(static_cast<std::int64_t>(p.journal.file_bytes_max))));
  w.number("max_files", p.journal.files_max);
  w.close();
  w.open("incidents");
  w.number("count", p.incidents.count);
  w.raw("max_size", yaml_quote(format_bytes(static_cast<std::int64_t>(p.incidents.bytes_max))));
  w.close();
  if (p.restart_budget.count > 0) {
    w.open("restart_budget");
    w.number("count", p.restart_budget.count);
    w.duration("window", p.restart_budget.window);
    w.close();
  }
  print_pressure_guard(w, p.pressure_guard);
  w.close();
}

}  // namespace

std::string print_project(const ProjectSpec& project) {
  YamlWriter w;
  w.text("name", project.name);
  print_project_keepwell(w, project);
  print_resources(w, project);
  if (project.services.empty()) {
    w.raw("services", "{}");
    return std::move(w.out);
  }
  w.open("services");
  for (const ServiceSpec& service : project.services) print_service(w, service);
  w.close();
  return std::move(w.out);
}

}  // namespace keepwell
