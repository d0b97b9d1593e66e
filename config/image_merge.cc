#include "config/image_merge.h"

#include <algorithm>

#include "config/paths.h"

namespace keepwell {
namespace {

using Environment = std::vector<std::pair<std::string, std::string>>;

Environment merged_environment(const Environment& image, const Environment& own) {
  Environment all;
  auto set = [&all](const std::pair<std::string, std::string>& entry) {
    auto same = std::find_if(all.begin(), all.end(),
                             [&](const auto& other) { return other.first == entry.first; });
    if (same == all.end()) {
      all.push_back(entry);
    } else {
      same->second = entry.second;
    }
  };
  for (const auto& entry : image) set(entry);
  for (const auto& entry : own) set(entry);
  return all;
}

// The Compose specification: an entrypoint in the file, also an empty one, drops the image's CMD;
// an empty command is one that says nothing.
void merge_argv(ServiceSpec& service, const ImageConfig& image) {
  if (!service.command && !service.entrypoint && !image.command.empty()) {
    service.command = image.command;
  }
  if (!service.entrypoint && !image.entrypoint.empty()) service.entrypoint = image.entrypoint;
}

// Where the image keeps data, and the file mounts nothing, is an anonymous volume.
void merge_volumes(ServiceSpec& service, const ImageConfig& image) {
  for (const std::string& volume : image.volumes) {
    MountSpec mount;
    mount.kind = MountKind::volume;
    mount.target = absolute_path("/", volume);
    auto same = std::find_if(service.mounts.begin(), service.mounts.end(),
                             [&](const MountSpec& own) { return own.target == mount.target; });
    if (same == service.mounts.end() && mount.target != "/") service.mounts.push_back(mount);
  }
  std::stable_sort(service.mounts.begin(), service.mounts.end(),
                   [](const MountSpec& a, const MountSpec& b) { return a.target < b.target; });
}

// What the image says where the file says nothing.
void merge_timings(CheckSpec& check, const HealthcheckGiven& given, const ImageHealthcheck& image) {
  auto inherit = [](bool own, Duration theirs, Duration& into) {
    if (!own && theirs.count() != 0) into = theirs;
  };
  inherit(given.interval, image.interval, check.interval);
  inherit(given.timeout, image.timeout, check.timeout);
  inherit(given.start_period, image.start_period, check.start_period);
  inherit(given.start_interval, image.start_interval, check.start_interval);
  if (!given.retries && image.retries != 0) check.retries = image.retries;
}

void merge_healthcheck(ServiceSpec& service, const ImageUse& use, const ImageConfig& image,
                       std::vector<Diagnostic>& diagnostics) {
  if (service.healthcheck_disabled) return;
  std::erase_if(service.checks, [](const CheckSpec& c) { return c.name == kHealthcheckName; });
  CheckSpec check = use.healthcheck;
  if (image.healthcheck) merge_timings(check, use.given, *image.healthcheck);
  if (!use.given.test) {
    check.test = image.healthcheck ? image.healthcheck->test : std::vector<std::string>{};
  }
  if (check.kind == ProbeKind::exec) {
    if (check.test.empty()) {
      if (use.healthcheck_given) {
        Diagnostic warning = use.place;
        warning.error = false;
        warning.text = "healthcheck of service " + service.name +
                       " has no test, and its image has none either; write test: or remove it";
        diagnostics.push_back(std::move(warning));
      }
      return;
    }
    if (check.test.front() == "NONE") {
      service.healthcheck_disabled = true;
      return;
    }
  }
  service.checks.insert(service.checks.begin(), std::move(check));
}

}  // namespace

std::string retries_warning(const ServiceSpec& service) {
  if (service.checks.empty() || service.retries_given ||
      service.restart.policy == RestartPolicy::no) {
    return {};
  }
  const bool acts = std::any_of(
      service.checks.begin(), service.checks.end(),
      [](const CheckSpec& c) { return c.on_unhealthy != OnUnhealthy::none && !c.observe; });
  if (!acts) return {};
  return "retries of service " + service.name +
         " is not set, so the first failed probe restarts it; write retries: 1 if that is meant, "
         "retries: 3 for what Docker does";
}

void merge_image(ServiceSpec& service, const ImageUse& use, const FoundImage& image,
                 std::vector<Diagnostic>& diagnostics) {
  const ImageConfig& config = image.config;
  service.image_id = image.id;
  service.rootfs = image.rootfs;
  merge_argv(service, config);
  service.environment = merged_environment(config.environment, service.environment);
  if (service.working_dir.empty()) service.working_dir = config.working_dir;
  if (service.user.empty()) service.user = config.user;
  if (service.stop_signal.empty()) service.stop_signal = config.stop_signal;
  service.labels.insert(config.labels.begin(), config.labels.end());  // keeps the file's own
  for (const std::string& port : config.exposed_ports) {
    if (std::find(service.exposed_ports.begin(), service.exposed_ports.end(), port) ==
        service.exposed_ports.end()) {
      service.exposed_ports.push_back(port);
    }
  }
  service.image_volumes = config.volumes;
  merge_volumes(service, config);
  merge_healthcheck(service, use, config, diagnostics);
  for (CheckSpec& check : service.checks) check.shell = config.shell;

  const bool inherited = config.healthcheck && config.healthcheck->retries != 0;
  const bool has_healthcheck =
      !service.checks.empty() && service.checks.front().name == kHealthcheckName;
  service.retries_given = !service.checks.empty() && use.other_retries_given &&
                          (!has_healthcheck || use.retries_given || inherited);
  if (std::string text = retries_warning(service); !text.empty()) {
    Diagnostic warning = use.place;
    warning.error = false;
    warning.text = std::move(text);
    diagnostics.push_back(std::move(warning));
  }

  auto error = [&](const Diagnostic& place, std::string text) {
    Diagnostic mistake = place;
    mistake.error = true;
    mistake.text = std::move(text);
    diagnostics.push_back(std::move(mistake));
  };
  const std::vector<std::string> argv = service.argv();
  if (argv.empty()) {
    error(use.place, "service " + service.name +
                         " has nothing to run: its image has no command; write command: [...]");
  } else if (argv.front().empty()) {
    error(use.place, "the program of service " + service.name + " is an empty text");
  }
  if (!service.checks.empty()) return;
  for (const ImageUse::Waiter& waiter : use.waiters) {
    error(waiter.place, "service " + waiter.service + " waits for " + service.name +
                            " to be healthy, which has no healthcheck, nor has its image; give it "
                            "one or write condition: service_started");
  }
}

}  // namespace keepwell
