#include "agent/cli/client.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "agent/cli/files.h"
#include "agent/http/query.h"
#include "config/load.h"
#include "runtime/user_namespace.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

// The run directory of the file, as far as it can be read; empty: unknown. What is wrong with the
// file is `check`'s to tell.
std::string run_dir_of_file(const FileOptions& files) {
  const Result<LoadOptions> options = load_options(files, {}, {});
  if (!options) return {};
  const Loaded loaded = load_project(*options);
  return loaded.project ? loaded.project->run_dir : std::string();
}

std::string text_of(const ordered_json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

ListedContainer read_entry(const ordered_json& entry) {
  ListedContainer container;
  container.id = text_of(entry, "Id");
  if (entry.contains("Names") && !entry["Names"].empty() && entry["Names"][0].is_string())
    container.name = entry["Names"][0].get<std::string>();
  if (container.name.starts_with("/")) container.name.erase(0, 1);
  if (entry.contains("Labels"))
    container.service = text_of(entry["Labels"], "com.docker.compose.service");
  container.entry = entry.dump();
  return container;
}

bool names_it(const std::string& name, const ListedContainer& container) {
  return container.id == name || container.name == name || "/" + container.name == name ||
         container.service == name;
}

}  // namespace

Result<std::string> socket_path(const AgentPlace& place) {
  std::string host = place.host;
  const char* variable = std::getenv("KEEPWELL_HOST");
  if (host.empty() && variable) host = variable;
  if (!host.empty()) {
    if (host.starts_with("unix://")) return host.substr(7);
    if (host.find("://") != std::string::npos)
      return fail(Errc::invalid, "cannot use host " + host + ": only unix://PATH is served");
    return host;
  }
  std::string run_dir = place.run_dir;
  if (run_dir.empty()) run_dir = run_dir_of_file(place.file);
  if (run_dir.empty()) run_dir = default_dirs().run_dir;
  return run_dir + "/keepwell.sock";
}

Result<HttpClient> connect_agent(const AgentPlace& place) {
  const Result<std::string> path = socket_path(place);
  if (!path) return fail(path.error());
  return HttpClient::connect(*path);
}

Result<std::string> get_body(HttpClient& client, const std::string& target) {
  Result<ClientResponse> response = client.send({.target = target});
  if (!response) return fail(response.error());
  if (!response->ok())
    return fail(response->status == 404 ? Errc::not_found : Errc::os, response->message());
  return std::move(response->body);
}

Result<std::vector<ListedContainer>> list_containers(HttpClient& client,
                                                     const std::vector<std::string>& names) {
  const Result<std::string> body = get_body(client, "/containers/json?all=1");
  if (!body) return fail(body.error());
  const ordered_json list = ordered_json::parse(*body, nullptr, false);
  if (!list.is_array()) return fail(Errc::os, "cannot read the agent's list of containers");
  std::vector<ListedContainer> all;
  for (const ordered_json& entry : list) all.push_back(read_entry(entry));
  if (names.empty()) return all;

  std::set<std::string> chosen;
  for (const std::string& name : names) {
    std::vector<std::string> ids;
    for (const ListedContainer& container : all)
      if (names_it(name, container)) ids.push_back(container.id);
    if (ids.empty() && !name.empty())
      for (const ListedContainer& container : all)
        if (container.id.starts_with(name)) ids.push_back(container.id);
    if (ids.empty()) return fail(Errc::not_found, "No such container: " + name);
    chosen.insert(ids.begin(), ids.end());
  }
  std::vector<ListedContainer> found;
  for (ListedContainer& container : all)
    if (chosen.contains(container.id)) found.push_back(std::move(container));
  return found;
}

int failed(const Error& error) {
  std::fprintf(stderr, "keepwell: %s\n", printable(error.text).c_str());
  return error.code == Errc::invalid ? 2 : 1;
}

void print_columns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] + 3 - row[i].size(), ' ');
    }
    std::puts(line.c_str());
  }
}

std::string printable(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string clean;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      clean += c;
    } else {
      clean += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return clean;
}

}  // namespace keepwell
