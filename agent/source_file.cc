#include "agent/source_file.h"

#include <nlohmann/json.hpp>

#include "runtime/state_file.h"

namespace keepwell {

namespace {

std::string path_in(const std::string& run_dir) { return run_dir + "/state/source.json"; }

}  // namespace

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
