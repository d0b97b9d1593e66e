#include "agent/cli/upgrade.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "runtime/launch.h"

namespace keepwell {

namespace {

// What is asked of the agent: to become the programs that belong to this one.
Result<std::string> upgrade_order() {
  nlohmann::json order{{"agent", own_program_path()}};
  for (const char* name : {"keeper", "logger", "enter"}) {
    Result<std::string> found = find_own_program(std::string("keepwell-") + name);
    if (!found) return fail(found.error());
    order[name] = absolute_path(*found);
  }
  return order.dump();
}

}  // namespace

int upgrade_command(const AgentPlace& place) {
  Result<std::string> order = upgrade_order();
  if (!order) return failed(order.error());
  Result<HttpClient> client = connect_agent(place);
  if (!client) return 1;
  ClientRequest request;
  request.method = "POST";
  request.target = "/keepwell/upgrade";
  request.body = *order;
  Result<ClientResponse> answer = client->send(request);
  if (!answer) return failed(answer.error());
  if (!answer->ok()) return failed({Errc::conflict, answer->message()});
  // This stream ends with the old agent; who connects then is answered by the new one.
  request = {};
  request.target = "/events";
  (void)client->stream(request, [](std::string_view) { return true; });
  Result<HttpClient> next = connect_agent(place);
  if (!next) return 1;
  Result<std::string> version = get_body(*next, "/version");
  if (!version) return failed(version.error().with("the new agent does not answer"));
  nlohmann::json facts = nlohmann::json::parse(*version, nullptr, false);
  std::string name = facts.is_object() ? facts.value("Version", "?") : "?";
  std::printf("upgraded: keepwell %s supervises now\n", printable(name).c_str());
  return 0;
}

}  // namespace keepwell
