// keepwell run: everything that can be found wrong is found here, while somebody is still looking;
// then this process becomes the keeper, which starts the agent. Order: the file, the directories,
// the lock (who has it may change all below), the socket, the accepted configuration, the exec.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "agent/cli/commands.h"
#include "agent/cli/files.h"
#include "agent/source_file.h"
#include "agent/state_store.h"
#include "runtime/image/image_store.h"
#include "runtime/launch.h"
#include "runtime/listener.h"
#include "runtime/state_file.h"
#include "runtime/user_namespace.h"

namespace keepwell {

namespace {

struct Programs {
  std::string keeper, logger, enter;
};

Result<Programs> find_programs() {
  Programs programs;
  for (auto [name, path] : {std::pair{"keepwell-keeper", &programs.keeper},
                            std::pair{"keepwell-logger", &programs.logger},
                            std::pair{"keepwell-enter", &programs.enter}}) {
    Result<std::string> found = find_own_program(name);
    if (!found) return fail(found.error());
    *path = *found;
  }
  return programs;
}

// With a leading slash and without one at the end.
Result<std::string> checked_cgroup_parent(std::string parent) {
  if (parent.empty()) return parent;
  const std::string given = parent;
  if (parent.front() != '/') parent.insert(parent.begin(), '/');
  parent = std::filesystem::path(parent).lexically_normal().string();
  if (parent.size() > 1 && parent.back() == '/') parent.pop_back();
  if (given.find("..") != std::string::npos) {
    return fail(Errc::invalid, "cannot use the cgroup " + given +
                                   ": it has .. in it; name it from the top of the cgroup tree "
                                   "(--cgroup-parent)");
  }
  return parent;
}

// Returns only on failure.
Error become_keeper(const ProjectSpec& project, const RunOptions& options, const Programs& programs,
                    const UniqueFd& lock, const UniqueFd& listener) {
  std::vector<std::string> argv{"keepwell-keeper",
                                "--lock-fd=" + std::to_string(lock.get()),
                                "--listen-fd=" + std::to_string(listener.get()),
                                "--logger",
                                programs.logger,
                                "--enter",
                                programs.enter,
                                "--",
                                own_program_path(),
                                "agent",
                                "--run-dir",
                                project.run_dir,
                                "--data-dir",
                                project.data_dir};
  for (const auto& [name, value] : {std::pair{"--exit-code-from", options.exit_code_from},
                                    std::pair{"--cgroup-parent", options.cgroup_parent}}) {
    if (!value.empty()) argv.insert(argv.end(), {name, value});
  }
  return become(programs.keeper, argv, {lock.get(), listener.get()});
}

Error run(const ProjectSpec& project, const ConfigSource& source, const RunOptions& options) {
  Result<Programs> programs = find_programs();
  if (!programs) return programs.error();
  // Whoever may connect to the socket must be able to reach it.
  if (Status made = make_private_dir(project.run_dir, 0755); !made) return made.error();
  if (Status made = make_private_dir(project.data_dir, 0711); !made) return made.error();
  Result<UniqueFd> lock = take_lock(project.run_dir);
  if (!lock) return lock.error();
  if (in_own_user_namespace()) {
    if (Status held = hold_user_namespace(project.run_dir); !held) return held.error();
  }
  ImageStore(project.data_dir).clean_if_idle();
  Result<UniqueFd> listener = listen_unix({.path = project.run_dir + "/keepwell.sock",
                                           .group = project.api.group,
                                           .mode = project.api.mode});
  if (!listener) return listener.error();
  Result<StateStore> store = StateStore::open(project.run_dir, project.data_dir);
  if (!store) return store.error();
  if (Status saved = store->save_project(project); !saved) return saved.error();
  if (Status saved = save_source(project.run_dir, source); !saved) return saved.error();
  return become_keeper(project, options, *programs, *lock, *listener);
}

}  // namespace

int run_command(const RunOptions& given) {
  RunOptions options = given;
  Result<std::string> parent = checked_cgroup_parent(given.cgroup_parent);
  if (!parent) {
    print_error(parent.error());
    return 2;
  }
  options.cgroup_parent = *parent;
  Result<LoadOptions> load = load_options(options.file, options.run_dir, options.data_dir);
  if (!load) {
    print_error(load.error());
    return 2;
  }
  if (geteuid() != 0) {
    // What is wrong with the file is told below.
    const Loaded seen = load_project(*load);
    const bool containers =
        seen.project &&
        std::any_of(seen.project->services.begin(), seen.project->services.end(),
                    [](const ServiceSpec& s) { return s.runtime == RuntimeKind::oci; });
    if (containers) {
      print_error(enter_user_namespace(seen.project->run_dir));
      return 1;
    }
  }
  int exit_code = 2;
  std::optional<ProjectSpec> project = load_and_report(*load, ImageFetch::allowed, exit_code);
  if (!project) return exit_code;
  ConfigSource source{options.file, load->run_dir.value_or(""), load->data_dir.value_or("")};
  source.file.files.clear();
  for (const std::string& file : load->files) {
    source.file.files.push_back(file == "-" ? file : absolute_path(file));
  }
  if (!source.file.project_directory.empty()) {
    source.file.project_directory = absolute_path(source.file.project_directory);
  }
  const std::string& last = options.exit_code_from;
  if (!last.empty() && std::none_of(project->services.begin(), project->services.end(),
                                    [&last](const ServiceSpec& s) { return s.name == last; })) {
    print_error({Errc::invalid, "cannot take the exit code from " + last +
                                    ": the file has no such service (--exit-code-from)"});
    return 2;
  }
  print_error(run(*project, source, options));
  return 1;
}

}  // namespace keepwell
