// keepwell hold and release.
#include <cstdio>

#include "agent/cli/guard_commands.h"
#include "agent/http/query.h"
#include "config/duration.h"

namespace keepwell {
namespace {

// POST /keepwell/containers/ID/VERB for all that NAMES name, and tells those that it was done for.
int post_to_all(const AgentPlace& place, const std::vector<std::string>& names,
                const std::string& verb_and_query) {
  Result<HttpClient> client = connect_agent(place);
  if (!client) return failed(client.error());
  int code = 0;
  for (const std::string& name : names) {
    const Result<std::vector<ListedContainer>> containers = list_containers(*client, {name});
    if (!containers) {
      code = failed(containers.error());
      continue;
    }
    bool good = true;
    for (const ListedContainer& container : *containers) {
      const Result<ClientResponse> response =
          client->send({.method = "POST",
                        .target = "/keepwell/containers/" + container.id + "/" + verb_and_query});
      if (!response) return failed(response.error());
      if (response->ok() || response->status == 304) continue;
      failed(Error{Errc::os, response->message()});
      good = false;
    }
    if (good) std::puts(name.c_str());
    if (!good) code = 1;
  }
  return code;
}

}  // namespace

int hold_command(const HoldCommand& command) {
  const Result<Duration> length = parse_duration(command.length);
  if (!length || *length <= Duration::zero()) {
    return failed(Error{
        Errc::invalid, "cannot hold for \"" + command.length + "\": write a duration such as 15m"});
  }
  return post_to_all(
      command.place, command.names,
      "hold?for=" + percent_encode(command.length) + "&reason=" + percent_encode(command.reason));
}

int release_command(const NamesCommand& command) {
  return post_to_all(command.place, command.names, "release");
}

}  // namespace keepwell
