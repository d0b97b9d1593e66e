#include "agent/cli/checks.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "agent/http/query.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

// Asks for TAIL of each container that the command names; hands the bodies of good answers to USE.
template <class Use>
int for_each_container(const CheckCommand& command, const std::string& tail, Use use) {
  Result<HttpClient> client = connect_agent(command.place);
  if (!client) return failed(client.error());
  const Result<std::vector<ListedContainer>> containers = list_containers(*client, {command.name});
  if (!containers) return failed(containers.error());
  int code = 0;
  for (const ListedContainer& container : *containers) {
    const Result<ClientResponse> response =
        client->send({.method = "POST", .target = "/keepwell/containers/" + container.id + tail});
    if (!response) return failed(response.error());
    if (!response->ok()) {
      code = failed(Error{Errc::os, response->message()});
    } else if (!use(response->body)) {
      code = 1;
    }
  }
  return code;
}

int set_paused(const CheckCommand& command, const char* verb) {
  const std::string tail = "/checks/" + percent_encode(command.check) + "/" + verb;
  const int code = for_each_container(command, tail, [](const std::string&) { return true; });
  if (code == 0) std::puts((command.name + " " + command.check).c_str());
  return code;
}

std::string shown_output(const ordered_json& last) {
  std::string output = last.value("Output", "");
  while (!output.empty() && output.back() == '\n') output.pop_back();
  return printable(output).substr(0, 100);
}

}  // namespace

int probe_command(const CheckCommand& command) {
  std::vector<std::vector<std::string>> rows{
      {"CONTAINER", "CHECK", "RESULT", "EXIT CODE", "HEALTH", "OUTPUT"}};
  const std::string tail =
      "/probe" + (command.check.empty() ? "" : "?check=" + percent_encode(command.check));
  const int code = for_each_container(command, tail, [&](const std::string& body) {
    const ordered_json answer = ordered_json::parse(body, nullptr, false);
    if (!answer.is_object()) return false;
    bool passed = true;
    for (const ordered_json& check : answer["Checks"]) {
      passed = passed && check.value("Passed", false);
      if (command.json) std::puts(check.dump().c_str());
      const ordered_json last = check["Log"].empty() ? ordered_json::object() : check["Log"].back();
      rows.push_back({printable(answer.value("Container", "")), printable(check.value("Name", "")),
                      check.value("Passed", false) ? "pass" : "fail",
                      std::to_string(last.value("ExitCode", 0)), check.value("Status", ""),
                      shown_output(last)});
    }
    return passed;
  });
  if (!command.json && rows.size() > 1) print_columns(rows);
  return code;
}

int pause_check_command(const CheckCommand& command) { return set_paused(command, "pause"); }
int resume_check_command(const CheckCommand& command) { return set_paused(command, "resume"); }

}  // namespace keepwell
