// keepwell incidents [show ID]: the evidence that was saved before restarts.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "agent/cli/guard_commands.h"
#include "agent/http/query.h"
#include "exporters/time_text.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

// TEXT with its lines kept and everything else that drives a terminal made visible.
std::string printable_lines(const std::string& text) {
  std::string out;
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    out += printable(std::string_view(text).substr(start, end - start)) + "\n";
    start = end + 1;
  }
  return out;
}

int list_incidents(HttpClient& client, bool json) {
  const Result<std::string> body = get_body(client, "/keepwell/incidents");
  if (!body) return failed(body.error());
  const ordered_json list = ordered_json::parse(*body, nullptr, false);
  if (!list.is_array()) return failed(Error{Errc::os, "cannot read the agent's list of incidents"});
  std::vector<std::vector<std::string>> rows{{"INCIDENT", "AT", "SIZE"}};
  for (const ordered_json& incident : list) {
    if (json) std::puts(incident.dump().c_str());
    rows.push_back({printable(incident.value("Id", "")), incident.value("At", ""),
                    human_size(incident.value("Bytes", std::uint64_t{0}))});
  }
  if (!json) print_columns(rows);
  return 0;
}

}  // namespace

int incidents_command(const IncidentsCommand& command) {
  Result<HttpClient> client = connect_agent(command.place);
  if (!client) return failed(client.error());
  if (command.id.empty()) return list_incidents(*client, command.json);
  const Result<std::string> body =
      get_body(*client, "/keepwell/incidents/" + percent_encode(command.id));
  if (!body) return failed(body.error());
  const ordered_json incident = ordered_json::parse(*body, nullptr, false);
  if (!incident.is_object() || !incident.contains("Files")) {
    return failed(Error{Errc::os, "cannot read what the agent says of the incident"});
  }
  if (command.json) {
    std::puts(incident.dump().c_str());
    return 0;
  }
  for (const auto& [name, text] : incident["Files"].items()) {
    std::printf("==> %s <==\n%s\n", printable(name).c_str(),
                printable_lines(text.get<std::string>()).c_str());
  }
  return 0;
}

}  // namespace keepwell
