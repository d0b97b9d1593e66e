// keepwell check: what run would say of the file, and whether this host has what it asks for,
// without running anything.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>

#include "agent/cli/commands.h"
#include "agent/cli/files.h"
#include "config/print.h"
#include "runtime/oci/runtime_finder.h"
#include "runtime/user_namespace.h"

namespace keepwell {

namespace {

bool is_directory(const std::string& path) {
  struct stat found {};
  return stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

// The highest number in "0-3,5".
long highest_cpu(std::string_view cpuset) {
  long highest = -1;
  while (!cpuset.empty()) {
    long number = 0;
    auto [stop, error] = std::from_chars(cpuset.data(), cpuset.data() + cpuset.size(), number);
    if (error == std::errc{}) highest = std::max(highest, number);
    cpuset.remove_prefix(
        std::min<std::size_t>(static_cast<std::size_t>(stop - cpuset.data()) + 1, cpuset.size()));
  }
  return highest;
}

// What every container of PROJECT needs and this host has not.
std::string missing_for_containers(const ProjectSpec& project) {
  if (geteuid() != 0) {
    const std::vector<std::string> obstacles = user_namespace_obstacles();
    if (!obstacles.empty()) {
      return "it is a container, which an ordinary user cannot run here: " + obstacles.front() +
             "; or use sudo, or x-keepwell: {runtime: process}";
    }
  }
  bool automatic = project.runtime == "auto";
  std::string found = find_program(automatic ? "crun" : project.runtime);
  if (found.empty() && automatic) found = find_program("runc");
  if (!found.empty() && access(found.c_str(), X_OK) == 0) return {};
  return "it is a container, and there is no " + (automatic ? "crun or runc" : project.runtime) +
         " on this host; install one";
}

// One line for each thing that will not work.
std::vector<std::string> obstacles(const ProjectSpec& project) {
  std::vector<std::string> all;
  long cpus = sysconf(_SC_NPROCESSORS_CONF);
  std::string missing = missing_for_containers(project);
  const bool netavark = !find_podman_helper("netavark").empty();
  for (const ServiceSpec& service : project.services) {
    auto add = [&](const std::string& text) {
      all.push_back("service " + service.name + ": " + text);
    };
    if (service.runtime == RuntimeKind::oci) {
      if (!missing.empty()) add(missing);
      if (!netavark && !service.networks.empty() && !service.networks_implicit) {
        add("it is on networks, and netavark is not installed on this host; install netavark and "
            "aardvark-dns, or set network_mode: host or none");
      }
      if (!service.rootfs.empty() && !is_directory(service.rootfs)) {
        add("rootfs " + service.rootfs + " is no directory");
      }
      bool own_filter = !service.seccomp.empty() && service.seccomp != "unconfined";
      if (own_filter && access(service.seccomp.c_str(), R_OK) != 0) {
        add("the seccomp profile " + service.seccomp + " cannot be read");
      }
    }
    if (highest_cpu(service.cpuset) >= cpus) {
      add("cpuset " + service.cpuset + " names CPUs that are not there; this host has " +
          std::to_string(cpus));
    }
  }
  return all;
}

}  // namespace

int check_command(const CheckOptions& options) {
  Result<LoadOptions> load = load_options(options.file, "", "");
  if (!load) {
    print_error(load.error());
    return 2;
  }
  int exit_code = 2;
  std::optional<ProjectSpec> project = load_and_report(*load, ImageFetch::unasked, exit_code);
  if (!project) {
    std::fprintf(stderr, "keepwell: %s will not run here: see above\n",
                 load->files.front().c_str());
    return exit_code;
  }
  if (options.print) {
    std::printf("%s", print_project(*project).c_str());
    return 0;
  }
  std::vector<std::string> missing = obstacles(*project);
  if (!missing.empty()) {
    std::printf("%s: will not run here:\n", project->file.c_str());
    for (const std::string& line : missing) std::printf("  %s\n", line.c_str());
    return 1;
  }
  const bool lonely = std::any_of(project->services.begin(), project->services.end(),
                                  [](const ServiceSpec& s) { return s.networks_implicit; }) &&
                      find_podman_helper("netavark").empty();
  if (lonely) {
    std::printf(
        "%s: warning: netavark is not installed on this host, so services have no network but "
        "their own loopback; install netavark and aardvark-dns, or set "
        "x-keepwell.defaults.network_mode: none\n",
        project->file.c_str());
  }
  std::size_t checks = 0;
  for (const ServiceSpec& service : project->services) checks += service.checks.size();
  std::printf("%s: fine, will run here: %zu services, %zu checks\n", project->file.c_str(),
              project->services.size(), checks);
  return 0;
}

}  // namespace keepwell
