#include "config/load.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "config/compose_files.h"
#include "config/draft.h"
#include "config/paths.h"
#include "config/remote_mounts.h"

namespace keepwell {
namespace {

std::string current_directory() {
  char buffer[4096];
  return getcwd(buffer, sizeof buffer) != nullptr ? std::string(buffer) : std::string("/");
}

PathFacts look_at_path(const std::string& path) {
  PathFacts facts;
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return facts;
  facts.kind = S_ISREG(status.st_mode)                              ? PathKind::file
               : S_ISDIR(status.st_mode)                            ? PathKind::directory
               : S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode) ? PathKind::device
                                                                    : PathKind::other;
  facts.bytes = static_cast<std::uint64_t>(status.st_size);
  char real[PATH_MAX];
  if (realpath(path.c_str(), real) != nullptr) facts.real = real;
  return facts;
}

std::function<PathFacts(const std::string&)> look_at_local_paths() {
  constexpr std::size_t kTableBytesMax = std::size_t{16} << 20;
  Result<std::string> table = read_config_file("/proc/self/mountinfo", kTableBytesMax);
  return [mounts = RemoteMounts(table ? *table : "")](const std::string& path) {
    return mounts.hold(path) ? PathFacts{PathKind::unknown, {}, 0} : look_at_path(path);
  };
}

std::string variable(const LoadContext& context, const std::string& name) {
  auto found = context.environment.find(name);
  return found == context.environment.end() ? std::string() : found->second;
}

std::string normalized_name(std::string_view directory) {
  std::string out;
  for (char c : directory) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (letter || (!out.empty() && (c == '_' || c == '-'))) out += c;
  }
  return out;
}

bool is_project_name(std::string_view name) {
  return !name.empty() && name == normalized_name(name);
}

// KEY: the file's `name`, or null. The name is a variable of the file, too.
void name_project(LoadContext& context, const LoadOptions& options, const Node* key, int file,
                  ProjectSpec& project) {
  Place place{file, 1, 1};
  std::string name = options.project_name;
  if (name.empty()) name = variable(context, "COMPOSE_PROJECT_NAME");
  if (key != nullptr) {
    std::string text;
    if (!read_text(context, "name", *key, text)) return;
    if (name.empty()) {
      name = text;
      place = key->place;
    }
  }
  if (name.empty()) {
    name = normalized_name(last_part(context.directory));
    if (name.empty()) name = "default";
  }
  if (!is_project_name(name)) {
    context.report.error(place, "project name " + in_quotes(name) +
                                    " is not one; write small letters, digits, _ and -, a letter "
                                    "or digit first");
  }
  context.environment["COMPOSE_PROJECT_NAME"] = name;
  context.project_name = name;
  project.name = std::move(name);
}

std::vector<std::string> active_profiles(const LoadContext& context, const LoadOptions& options) {
  std::vector<std::string> profiles = options.profiles;
  std::string rest = variable(context, "COMPOSE_PROFILES");
  while (!rest.empty()) {
    std::size_t comma = rest.find(',');
    std::string name = rest.substr(0, comma);
    if (!name.empty()) profiles.push_back(std::move(name));
    rest.erase(0, comma == std::string::npos ? rest.size() : comma + 1);
  }
  return profiles;
}

}  // namespace

Loaded load_project(const LoadOptions& options) {
  Report report(options.lenient);
  LoadContext context{.report = report,
                      .environment = options.environment,
                      .directory = {},
                      .read_file = options.read_file ? options.read_file : read_config_file,
                      .defaults = std::nullopt,
                      .net_checks = options.net_checks,
                      .look = options.look ? options.look : look_at_local_paths(),
                      .project_name = {},
                      .resources = {},
                      .regex_fault = options.regex_fault};
  if (options.files.empty()) {
    return {std::nullopt, {{true, "", 0, 0, "no Compose file is named; write -f FILE"}}, {}};
  }
  std::string here = current_directory();
  std::string first = options.files.front();
  std::string first_path = absolute_path(here, first == "-" ? "stdin" : first);
  context.directory = options.project_directory.empty()
                          ? directory_of(first_path)
                          : absolute_path(here, options.project_directory);
  add_env_file(context, absolute_path(context.directory, ".env"), std::nullopt,
               context.environment);
  ProjectSpec project;
  Loaded loaded;
  project.file = first_path;
  if (!options.default_run_dir.empty()) project.run_dir = options.default_run_dir;
  if (!options.default_data_dir.empty()) project.data_dir = options.default_data_dir;
  std::optional<Node> root = read_compose_files(
      context, options.files,
      [&](const Node* name, int file) { name_project(context, options, name, file, project); });
  if (root) {
    read_project(context, *root, active_profiles(context, options), project, loaded.images);
    if (options.run_dir) project.run_dir = absolute_path(here, *options.run_dir);
    if (options.data_dir) project.data_dir = absolute_path(here, *options.data_dir);
  }
  if (!report.failed()) loaded.project = std::move(project);
  loaded.diagnostics = report.take();
  return loaded;
}

Result<std::string> read_config_file(const std::string& path, std::size_t limit) {
  std::string context = "cannot read " + path;
  bool standard_input = path == "-";
  int fd = standard_input ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail_errno(context);
  struct stat status {};
  std::string text;
  Status result;
  if (fstat(fd, &status) != 0) {
    result = fail_errno(context);
  } else if (!standard_input && !S_ISREG(status.st_mode)) {
    result = fail(Errc::invalid, context + ": it is not a regular file");
  } else if (S_ISREG(status.st_mode) && static_cast<std::uint64_t>(status.st_size) > limit) {
    result = fail(Errc::invalid, context + ": it is " + std::to_string(status.st_size >> 10) +
                                     " KB large, more than the " + std::to_string(limit >> 10) +
                                     " KB that such a file may have");
  }
  char buffer[65536];
  while (result) {
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) result = fail_errno(context);
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > limit) {
      result = fail(Errc::invalid, context + ": it has more than the " +
                                       std::to_string(limit >> 10) + " KB that it may have");
    }
  }
  if (!standard_input) close(fd);
  if (!result) return fail(result.error());
  return text;
}

}  // namespace keepwell
