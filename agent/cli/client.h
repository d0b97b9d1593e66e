// What the commands that talk to a running agent share: finding its socket, asking, reporting.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "agent/cli/commands.h"
#include "agent/http/client.h"
#include "config/result.h"

namespace keepwell {

// Where the agent is, as the command line says it.
struct AgentPlace {
  std::string host;     // -H: unix://PATH or PATH
  std::string run_dir;  // --run-dir
  FileOptions file;     // its x-keepwell.run_dir counts where nothing else was said
};

// The socket's path: --host, KEEPWELL_HOST, --run-dir, the file's run_dir, the default; in this
// order. Errc::invalid for a host that is no unix socket.
Result<std::string> socket_path(const AgentPlace& place);

// Connects; on failure says so on stderr, and the result is empty.
Result<HttpClient> connect_agent(const AgentPlace& place);

// The body of GET TARGET. An error of the agent is an Error with its message.
Result<std::string> get_body(HttpClient& client, const std::string& target);

// One entry of GET /containers/json.
struct ListedContainer {
  std::string id;
  std::string name;  // without the slash
  std::string service;
  std::string entry;  // the entry's JSON
};

// The containers that NAMES name, in the agent's order and without doubles; no names: all. A
// service stands for all of its containers. Fails on the first name that nobody has.
Result<std::vector<ListedContainer>> list_containers(HttpClient& client,
                                                     const std::vector<std::string>& names);

// "keepwell: TEXT" on stderr; returns 1, for `return failed(error);`.
int failed(const Error& error);

// Prints ROWS, the first being titles, in columns as wide as their content and three blanks apart.
void print_columns(const std::vector<std::vector<std::string>>& rows);

// TEXT for a terminal: control characters as \xNN.
std::string printable(std::string_view text);

}  // namespace keepwell
