#include "config/load.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "config/compose_tree.h"
#include "config/draft.h"
#include "config/env_file.h"
#include "config/interpolate.h"
#include "config/merge.h"
#include "config/paths.h"
#include "config/utf8.h"

namespace keepwell {
namespace {

constexpr std::size_t kDotEnvBytesMax = std::size_t{1} << 20;

std::string current_directory() {
  char buffer[4096];
  return getcwd(buffer, sizeof buffer) != nullptr ? std::string(buffer) : std::string("/");
}

std::string variable(const LoadContext& context, const std::string& name) {
  auto found = context.environment.find(name);
  return found == context.environment.end() ? std::string() : found->second;
}

// .env beside the first file; a file that is not there is fine.
void load_dot_env(LoadContext& context) {
  std::string path = absolute_path(context.directory, ".env");
  Result<std::string> text = context.read_file(path, kDotEnvBytesMax);
  if (!text) {
    if (text.error().code != Errc::not_found) {
      context.report.error({context.report.add_file(path), 0, 0}, text.error().text);
    }
    return;
  }
  VariableLookup lookup = [&](std::string_view name) -> std::optional<std::string> {
    auto found = context.environment.find(std::string(name));
    if (found == context.environment.end()) return std::nullopt;
    return found->second;
  };
  EnvFile env = parse_env_file(*text, lookup);
  int file = context.report.add_file(path);
  for (EnvFileMistake& mistake : env.mistakes) {
    context.report.error({file, mistake.line, 1}, mistake.text);
  }
  std::map<std::string, std::string> values;
  for (auto& [name, value] : env.values) values.insert_or_assign(name, std::move(value));
  context.environment.merge(values);  // keeps what the process has
}

// Replaces variables in all values of NODE; never in keys.
void interpolate_tree(LoadContext& context, const VariableLookup& lookup, Node& node) {
  if (node.is_scalar() && node.text.find('$') != std::string::npos) {
    Result<Interpolated> result = interpolate(node.text, lookup);
    if (!result) {
      context.report.error(node.place, result.error().text);
      return;
    }
    for (const std::string& name : result->unset) {
      context.report.warning(node.place, unset_variable_text(name));
    }
    if (find_bad_utf8(result->text) != std::string_view::npos) {
      context.report.error(node.place,
                           "a variable here has a value that is not UTF-8 text; pass it "
                           "through environment, which takes any bytes");
      return;
    }
    node.text = std::move(result->text);
  }
  for (Node& item : node.items) interpolate_tree(context, lookup, item);
  for (Entry& entry : node.entries) interpolate_tree(context, lookup, entry.value);
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

void name_project(LoadContext& context, const LoadOptions& options, const Node& root,
                  ProjectSpec& project) {
  Place place{root.place.file, 0, 0};
  std::string name = options.project_name;
  if (name.empty()) name = variable(context, "COMPOSE_PROJECT_NAME");
  const Node* key = root.is_mapping() ? root.find("name") : nullptr;
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
    context.report.error(place, "project name " + quoted(name) +
                                    " is not one; write small letters, digits, _ and -, a letter "
                                    "or digit first");
  }
  project.name = std::move(name);
}

// The trees of all files, merged in order. Empty where none could be read.
std::optional<Node> read_trees(LoadContext& context, const LoadOptions& options) {
  VariableLookup lookup = [&context](std::string_view name) -> std::optional<std::string> {
    auto found = context.environment.find(std::string(name));
    if (found == context.environment.end()) return std::nullopt;
    return found->second;
  };
  std::optional<Node> merged;
  for (const std::string& path : options.files) {
    int file = context.report.add_file(path);
    Result<std::string> text = context.read_file(path, kComposeFileBytesMax);
    if (!text) {
      context.report.error({file, 0, 0}, text.error().text);
      continue;
    }
    std::optional<Node> tree = parse_compose_tree(*text, file, context.report);
    if (!tree) continue;
    interpolate_tree(context, lookup, *tree);
    if (merged) {
      merge_compose_tree(*merged, std::move(*tree), context.report);
    } else {
      merged = std::move(tree);
    }
  }
  return merged;
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
                      .net_checks = options.net_checks};
  if (options.files.empty()) {
    return {std::nullopt, {{true, "", 0, 0, "no Compose file is named; write -f FILE"}}};
  }
  std::string here = current_directory();
  std::string first = options.files.front();
  std::string first_path = absolute_path(here, first == "-" ? "stdin" : first);
  context.directory = options.project_directory.empty()
                          ? directory_of(first_path)
                          : absolute_path(here, options.project_directory);
  load_dot_env(context);
  ProjectSpec project;
  project.file = first_path;
  std::optional<Node> root = read_trees(context, options);
  if (root) {
    name_project(context, options, *root, project);
    read_project(context, *root, active_profiles(context, options), project);
    if (options.run_dir) project.run_dir = absolute_path(here, *options.run_dir);
    if (options.data_dir) project.data_dir = absolute_path(here, *options.data_dir);
  }
  Loaded loaded;
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
