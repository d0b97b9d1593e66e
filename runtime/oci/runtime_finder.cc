#include "runtime/oci/runtime_finder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "runtime/oci/bundle.h"
#include "runtime/proc_info.h"
#include "runtime/user_namespace.h"

namespace keepwell {

namespace {

constexpr Duration kTrialTimeout = std::chrono::seconds(10);
constexpr const char* kHiddenDirs =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/libexec/podman:"
    "/usr/lib/podman:/usr/libexec/crio:/usr/lib/cri-o-runc/sbin";

bool executable(const std::string& path) {
  struct stat found {};
  return stat(path.c_str(), &found) == 0 && S_ISREG(found.st_mode) &&
         access(path.c_str(), X_OK) == 0;
}

std::string trial_id() { return "keepwell-trial-" + std::to_string(getpid()); }

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return executable(name) ? name : std::string();
  const char* path = std::getenv("PATH");
  std::istringstream dirs(std::string(path ? path : "") + ":" + kHiddenDirs);
  for (std::string dir; std::getline(dirs, dir, ':');)
    if (dir.starts_with("/") && executable(dir + "/" + name)) return dir + "/" + name;
  return {};
}

std::string find_podman_helper(const std::string& name) {
  for (const char* dir : {"", "/usr/lib/podman/", "/usr/libexec/podman/", "/usr/local/lib/podman/",
                          "/usr/local/libexec/podman/"})
    if (std::string path = find_program(dir + name); !path.empty()) return path;
  return {};
}

void RuntimeFinder::find(Found on_found) {
  on_found_ = std::move(on_found);
  candidates_ = options_.setting == "auto" ? std::vector<std::string>{"crun", "runc"}
                                           : std::vector<std::string>{options_.setting};
  try_next();
}

void RuntimeFinder::try_next() {
  bool found = !findings_.empty() && findings_.back().works;
  if (candidates_.empty() || (found && !options_.all)) {
    Found on_found = std::move(on_found_);
    on_found(std::move(findings_));
    return;
  }
  std::string candidate = candidates_.front();
  candidates_.erase(candidates_.begin());
  RuntimeFinding& finding = findings_.emplace_back();
  finding.runtime.name = std::filesystem::path(candidate).filename();
  finding.runtime.path = find_program(candidate);
  finding.runtime.state_root = options_.state_root;
  if (finding.runtime.path.empty()) return verdict(false, "cannot find " + candidate);
  try_version();
}

void RuntimeFinder::try_version() {
  HostCommand command;
  command.argv = {findings_.back().runtime.path, "--version"};
  command.timeout = kTrialTimeout;
  run_(command, [this](const HostCommandResult& result) {
    if (!result.ok())
      return verdict(false, "--version fails: " + runtime_complaint("", result.output));
    findings_.back().runtime.version = result.output.substr(0, result.output.find('\n'));
    try_create();
  });
}

Status RuntimeFinder::write_trial_bundle() {
  std::error_code error;
  std::string bundle = options_.work_dir + "/trial";
  std::filesystem::create_directories(bundle + "/rootfs", error);
  std::ofstream program(bundle + "/rootfs/program");
  program.close();
  chmod((bundle + "/rootfs/program").c_str(),
        0755);  // is looked for by `create`, and never executed
  ServiceSpec spec;
  spec.command = std::vector<std::string>{"/program"};
  BundlePlan plan;
  plan.id = trial_id();
  plan.rootfs = bundle + "/rootfs";
  plan.cgroups_path = options_.cgroups_path;
  plan.no_limits = plan.cgroups_path.empty() && in_own_user_namespace();
  plan.own_oom_score_adj = own_oom_score_adj();
  plan.host_capabilities = capability_names(own_status_mask("CapBnd:"));
  auto config = bundle_config(spec, plan);
  if (!config) return fail(config.error());
  std::ofstream out(bundle + "/config.json");
  out << config->dump();
  out.close();
  if (!out || !program) return fail(Errc::os, "cannot write " + bundle);
  return {};
}

void RuntimeFinder::try_create() {
  if (Status written = write_trial_bundle(); !written) return verdict(false, written.error().text);
  std::string bundle = options_.work_dir + "/trial";
  HostCommand command;
  command.argv = runtime_create_argv(findings_.back().runtime, {.id = trial_id(),
                                                                .bundle = bundle,
                                                                .pid_file = bundle + "/pid",
                                                                .log_file = bundle + "/log",
                                                                .console_socket = ""});
  command.timeout = kTrialTimeout;
  run_(command, [this](const HostCommandResult& created) {
    HostCommand remove;
    remove.argv = runtime_delete_argv(findings_.back().runtime, trial_id());
    remove.timeout = kTrialTimeout;
    run_(remove, [this, created](const HostCommandResult&) { deleted(created); });
  });
}

void RuntimeFinder::deleted(const HostCommandResult& created) {
  std::string bundle = options_.work_dir + "/trial";
  std::ifstream in(bundle + "/log");
  std::ostringstream log;
  log << in.rdbuf();
  std::error_code ignored;
  std::filesystem::remove_all(bundle, ignored);
  if (created.ok()) return verdict(true, "");
  verdict(false, created.timed_out
                     ? "a trial container was not created within 10 s"
                     : "a trial container failed: " + runtime_complaint(log.str(), created.output));
}

void RuntimeFinder::verdict(bool works, std::string why) {
  findings_.back().works = works;
  findings_.back().why = std::move(why);
  try_next();
}

std::string explain_findings(const std::vector<RuntimeFinding>& findings) {
  std::string text;
  for (const RuntimeFinding& finding : findings)
    text += (text.empty() ? "" : "; ") + finding.runtime.name + ": " +
            (finding.works ? "works" : finding.why);
  return text;
}

}  // namespace keepwell
