#include "agent/cli/client_commands.h"

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "agent/http/query.h"
#include "exporters/check_costs.h"
#include "exporters/ps_rows.h"
#include "exporters/time_text.h"
#include "runtime/loop.h"
#include "runtime/terminal.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

void print_ps_table(const std::vector<PsRow>& rows) {
  std::vector<std::vector<std::string>> table{{"CONTAINER ID", "NAME", "SERVICE", "STATE", "HEALTH",
                                               "STATUS", "PORTS", "IMAGE", "COMMAND"}};
  for (const PsRow& row : rows)
    table.push_back({row.id.substr(0, 12), printable(row.names), printable(row.service),
                     row.keepwell_state + (row.held ? " (held)" : ""), row.health, row.status,
                     row.ports, printable(row.image), printable(row.command)});
  print_columns(table);
}

// The entries that NAMES and FILTERS choose, as one JSON array.
Result<std::string> ps_list(HttpClient& client, const PsCommand& command) {
  const Result<std::string> filters = filters_json(command.filters);
  if (!filters) return fail(filters.error());
  Result<std::string> body =
      get_body(client, "/containers/json?all=1&filters=" + percent_encode(*filters));
  if (!body || command.names.empty()) return body;
  const Result<std::vector<ListedContainer>> named = list_containers(client, command.names);
  if (!named) return fail(named.error());
  const ordered_json filtered = ordered_json::parse(*body, nullptr, false);
  ordered_json kept = ordered_json::array();
  for (const ordered_json& entry : filtered)
    for (const ListedContainer& container : *named)
      if (entry.value("Id", "") == container.id) kept.push_back(entry);
  return kept.dump();
}

Result<ordered_json> inspect_one(HttpClient& client, const std::string& name) {
  const Result<std::string> body =
      get_body(client, "/containers/" + percent_encode(name) + "/json");
  if (!body) return fail(body.error());
  ordered_json object = ordered_json::parse(*body, nullptr, false);
  if (!object.is_object()) return fail(Errc::os, "cannot read what the agent says of " + name);
  return object;
}

// ---- health

void print_health_table(const ordered_json& container) {
  const ordered_json& state = container["State"];
  std::string name = container.value("Name", "");
  if (name.starts_with("/")) name.erase(0, 1);
  if (!state.contains("Health")) {
    std::printf("%s: no health check\n", printable(name).c_str());
    return;
  }
  const ordered_json& health = state["Health"];
  std::printf("%s: %s, failing streak %d\n", printable(name).c_str(),
              health.value("Status", "").c_str(), health.value("FailingStreak", 0));
  std::vector<std::vector<std::string>> rows{{"START", "EXIT CODE", "OUTPUT"}};
  for (const ordered_json& entry : health["Log"]) {
    std::string output = entry.value("Output", "");
    while (!output.empty() && output.back() == '\n') output.pop_back();
    rows.push_back({entry.value("Start", ""), std::to_string(entry.value("ExitCode", 0)),
                    printable(output).substr(0, 100)});
  }
  if (rows.size() > 1) print_columns(rows);
}

}  // namespace

Result<std::string> filters_json(const std::vector<std::string>& filters) {
  ordered_json object = ordered_json::object();
  for (const std::string& filter : filters) {
    const std::size_t equals = filter.find('=');
    if (equals == std::string::npos || equals == 0)
      return fail(Errc::invalid, "cannot use filter \"" + filter + "\": write KEY=VALUE");
    object[filter.substr(0, equals)].push_back(filter.substr(equals + 1));
  }
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

int ps_command(const PsCommand& command) {
  Result<HttpClient> client = connect_agent(command.place);
  if (!client) return failed(client.error());
  const Result<std::string> list = ps_list(*client, command);
  if (!list) return failed(list.error());
  const WallTime now = Loop::now().wall;
  const LocalZone zone = local_zone(now);
  PsStyle style;
  style.now = now;
  style.utc_offset_seconds = zone.utc_offset_seconds;
  style.zone = zone.name;
  style.no_trunc = command.no_trunc;
  const Result<std::vector<PsRow>> rows = ps_rows(*list, style);
  if (!rows) return failed(rows.error());
  if (command.quiet) {
    for (const PsRow& row : *rows)
      std::puts((command.no_trunc ? row.id : row.id.substr(0, 12)).c_str());
  } else if (command.json) {
    for (const PsRow& row : *rows) std::puts(ps_row_json(row).c_str());
  } else {
    print_ps_table(*rows);
  }
  return 0;
}

int inspect_command(const NamesCommand& command) {
  Result<HttpClient> client = connect_agent(command.place);
  if (!client) return failed(client.error());
  ordered_json array = ordered_json::array();
  int code = 0;
  std::vector<Error> errors;
  for (const std::string& name : command.names) {
    Result<ordered_json> object = inspect_one(*client, name);
    if (object) {
      array.push_back(std::move(*object));
    } else {
      errors.push_back(object.error());
      code = 1;
    }
  }
  std::puts(array.dump(4, ' ', false, ordered_json::error_handler_t::replace).c_str());
  for (const Error& error : errors) failed(error);
  return code;
}

int health_command(const NamesCommand& command) {
  Result<HttpClient> client = connect_agent(command.place);
  if (!client) return failed(client.error());
  std::vector<std::string> names = command.names;
  if (names.empty()) {
    const Result<std::vector<ListedContainer>> all = list_containers(*client, {});
    if (!all) return failed(all.error());
    for (const ListedContainer& container : *all) names.push_back(container.id);
  }
  int code = 0;
  for (const std::string& name : names) {
    const Result<ordered_json> object = inspect_one(*client, name);
    if (!object) {
      failed(object.error());
      code = 1;
    } else if (command.json) {
      const ordered_json& state = (*object)["State"];
      std::puts(state.contains("Health") ? state["Health"].dump().c_str() : "null");
    } else {
      print_health_table(*object);
    }
  }
  return code;
}

int version_command(const NamesCommand& command) {
  std::string server;
  if (Result<HttpClient> client = connect_agent(command.place)) {
    const Result<std::string> body = get_body(*client, "/version");
    if (body) server = *body;
  }
  const ordered_json parsed = ordered_json::parse(server, nullptr, false);
  if (command.json) {
    ordered_json object;
    object["Client"] = {{"Version", KEEPWELL_VERSION}};
    object["Server"] = parsed.is_object() ? parsed : ordered_json(nullptr);
    std::puts(object.dump().c_str());
    return 0;
  }
  std::puts("keepwell " KEEPWELL_VERSION);
  if (parsed.is_object())
    std::printf("agent %s, API %s\n", parsed.value("Version", "").c_str(),
                parsed.value("ApiVersion", "").c_str());
  return 0;
}

int lifecycle_command(const LifecycleCommand& command) {
  Result<HttpClient> client = connect_agent(command.place);
  if (!client) return failed(client.error());
  std::string query;
  if (command.seconds) query += "&t=" + std::to_string(*command.seconds);
  if (!command.signal.empty()) query += "&signal=" + percent_encode(command.signal);
  if (!query.empty()) query[0] = '?';
  int code = 0;
  for (const std::string& name : command.names) {
    const Result<std::vector<ListedContainer>> containers = list_containers(*client, {name});
    if (!containers) {
      failed(containers.error());
      code = 1;
      continue;
    }
    bool good = true;
    for (const ListedContainer& container : *containers) {
      const Result<ClientResponse> response = client->send(
          {.method = "POST", .target = "/containers/" + container.id + "/" + command.verb + query});
      if (!response) return failed(response.error());
      if (response->ok() || response->status == 304) continue;
      failed(Error{Errc::os, response->message()});
      good = false;
    }
    if (good) {
      std::puts(name.c_str());
      std::fflush(stdout);
    } else {
      code = 1;
    }
  }
  return code;
}

namespace {

int top_checks(HttpClient& client, bool as_json) {
  const Result<std::string> body = get_body(client, "/keepwell/checks/costs");
  if (!body) return failed(body.error());
  const Result<std::vector<std::vector<std::string>>> rows = check_costs_table(*body);
  if (!rows) return failed(rows.error());
  if (as_json) {
    for (const ordered_json& one : ordered_json::parse(*body)) std::puts(one.dump().c_str());
    return 0;
  }
  print_columns(*rows);
  return 0;
}

}  // namespace

int top_command(const TopCommand& command) {
  Result<HttpClient> client = connect_agent(command.place);
  if (!client) return failed(client.error());
  if (command.name.empty()) return top_checks(*client, command.json);
  std::string arguments;
  for (const std::string& word : command.ps_arguments)
    arguments += (arguments.empty() ? "" : " ") + word;
  std::string target = "/containers/" + percent_encode(command.name) + "/top";
  if (!arguments.empty()) target += "?ps_args=" + percent_encode(arguments);
  const Result<std::string> body = get_body(*client, target);
  if (!body) return failed(body.error());
  const ordered_json table = ordered_json::parse(*body, nullptr, false);
  if (!table.is_object()) return failed(Error{Errc::os, "cannot read the list of processes"});
  std::vector<std::vector<std::string>> rows{table.value("Titles", std::vector<std::string>{})};
  for (const ordered_json& row : table["Processes"]) {
    rows.push_back(row.get<std::vector<std::string>>());
    if (!command.json) continue;
    ordered_json object;
    for (std::size_t i = 0; i < rows[0].size() && i < rows.back().size(); ++i)
      object[rows[0][i]] = rows.back()[i];
    std::puts(object.dump().c_str());
  }
  if (!command.json) print_columns(rows);
  return 0;
}

}  // namespace keepwell
