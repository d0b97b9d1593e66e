#include "agent/source_file.h"

#include <nlohmann/json.hpp>

#include "runtime/launch.h"
#include "runtime/net_probe/body_regex.h"
#include "runtime/state_file.h"
#include "runtime/user_namespace.h"

namespace keepwell {

namespace {

std::string path_in(const std::string& run_dir) { return run_dir + "/state/source.json"; }

std::optional<std::string> setting(const std::string& dir) {
  if (dir.empty()) return std::nullopt;
  return absolute_path(dir);
}

}  // namespace

Result<LoadOptions> load_options(const FileOptions& files, const std::string& run_dir,
                                 const std::string& data_dir) {
  LoadOptions options;
  options.files = files.files;
  if (options.files.empty()) {
    for (const char* name : {"keepwell.yaml", "compose.yaml"}) {
      if (options.files.empty() && is_readable_file(name)) options.files.emplace_back(name);
    }
  }
  if (options.files.empty()) {
    return fail(Errc::not_found,
                "cannot find keepwell.yaml or compose.yaml here; name a file with -f");
  }
  options.project_directory = files.project_directory;
  options.project_name = files.project_name;
  options.environment = process_environment();
  options.profiles = files.profiles;
  options.lenient = files.lenient;
  options.net_checks = true;  // the engine runs them on its loop
  options.regex_fault = body_regex_fault;
  options.run_dir = setting(run_dir);
  options.data_dir = setting(data_dir);
  const DefaultDirs dirs = default_dirs();
  options.default_run_dir = dirs.run_dir;
  options.default_data_dir = dirs.data_dir;
  return options;
}

Status save_source(const std::string& run_dir, const ConfigSource& source) {
  nlohmann::json text{{"files", source.file.files},
                      {"project_name", source.file.project_name},
                      {"project_directory", source.file.project_directory},
                      {"profiles", source.file.profiles},
                      {"lenient", source.file.lenient},
                      {"run_dir", source.run_dir},
                      {"data_dir", source.data_dir}};
  return write_state_file(path_in(run_dir),
                          text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

Result<ConfigSource> load_source(const std::string& run_dir) {
  std::string path = path_in(run_dir);
  StateFileRead read = read_state_file(path);
  if (!read.body) {
    return fail(Errc::not_found,
                "cannot tell which files keepwell runs: no " + path + "; name them with -f");
  }
  try {  // nlohmann throws for what is missing or of the wrong type
    nlohmann::json text = nlohmann::json::parse(*read.body);
    ConfigSource source;
    source.file.files = text.at("files").get<std::vector<std::string>>();
    source.file.project_name = text.at("project_name").get<std::string>();
    source.file.project_directory = text.at("project_directory").get<std::string>();
    source.file.profiles = text.at("profiles").get<std::vector<std::string>>();
    source.file.lenient = text.at("lenient").get<bool>();
    source.run_dir = text.at("run_dir").get<std::string>();
    source.data_dir = text.at("data_dir").get<std::string>();
    return source;
  } catch (const nlohmann::json::exception& error) {
    return fail(Errc::invalid, "cannot read " + path + ": " + error.what());
  }
}

}  // namespace keepwell
