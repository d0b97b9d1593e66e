#include "agent/cli/reload.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "agent/cli/files.h"
#include "agent/source_file.h"
#include "agent/state_store.h"
#include "config/diff.h"
#include "config/spec_json.h"

namespace keepwell {

namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

void print_plan(const ProjectDiff& diff, bool json) {
  for (const ServiceDiff& service : diff.services) {
    if (json) {
      nlohmann::ordered_json line{{"Service", service.service},
                                  {"Change", to_string(service.change)},
                                  {"Fields", service.fields}};
      std::printf("%s\n", line.dump().c_str());
    } else {
      std::string fields = service.fields.empty() ? "" : " (" + joined(service.fields) + ")";
      std::printf("%s: %s%s\n", service.service.c_str(), to_string(service.change), fields.c_str());
    }
  }
  if (!diff.settings.empty() && !json) {
    std::printf("settings: %s\n", joined(diff.settings).c_str());
  }
  if (diff.empty() && !json) std::puts("nothing to do");
}

// The files named, else those of `run`, and the directories that go with them.
Result<LoadOptions> options_for(const ReloadOptions& options, const std::string& run_dir) {
  Result<ConfigSource> source = load_source(run_dir);
  if (options.place.file.files.empty()) {
    if (!source) return fail(source.error());
    return load_options(source->file, source->run_dir, source->data_dir);
  }
  return load_options(options.place.file, source ? source->run_dir : "",
                      source ? source->data_dir : "");
}

}  // namespace

int reload_command(const ReloadOptions& options) {
  Result<std::string> socket = socket_path(options.place);
  if (!socket) return failed(socket.error());
  std::string run_dir = socket->substr(0, socket->rfind('/'));
  Result<LoadOptions> load = options_for(options, run_dir);
  if (!load) {
    print_error(load.error());
    return 2;
  }
  int exit_code = 2;
  std::optional<ProjectSpec> wanted = load_and_report(*load, ImageFetch::allowed, exit_code);
  if (!wanted) return exit_code;
  Result<HttpClient> client = connect_agent(options.place);
  if (!client) return failed(client.error());
  std::vector<std::string> problems;
  Result<ProjectSpec> running = StateStore::read_project(run_dir, problems);
  if (!running) return failed(running.error());
  ProjectDiff diff = diff_projects(*running, *wanted);
  if (!diff.fixed.empty()) {
    return failed({Errc::invalid, "cannot reload: " + joined(diff.fixed) +
                                      " can only be changed by stopping keepwell and running it "
                                      "again"});
  }
  print_plan(diff, options.json);
  if (options.dry_run) return 0;
  ClientRequest request;
  request.method = "POST";
  request.target = "/keepwell/reload";
  request.body = project_to_json(*wanted);
  Result<ClientResponse> answer = client->send(request);
  if (!answer) return failed(answer.error());
  if (!answer->ok()) return failed({Errc::conflict, answer->message()});
  return 0;
}

}  // namespace keepwell
