// keepwell why: the journal of one service, put together into chains.
#include "exporters/why.h"

#include <cstdio>

#include "agent/cli/guard_commands.h"
#include "agent/http/query.h"
#include "exporters/journal.h"
#include "runtime/loop.h"
#include "runtime/terminal.h"

namespace keepwell {
namespace {

// Something was done, or was to be.
bool is_action(const WhyIncident& incident) {
  return incident.restarted || incident.outcome.starts_with("being restarted") ||
         incident.outcome.starts_with("stopped") || incident.outcome == "given up" ||
         incident.outcome == "open";
}

}  // namespace

int why_command(const WhyCommand& command) {
  Result<HttpClient> client = connect_agent(command.place);
  if (!client) return failed(client.error());
  std::string text;
  const Result<ClientResponse> response =
      client->stream({.target = "/keepwell/journal?name=" + percent_encode(command.name)},
                     [&text](std::string_view bytes) {
                       text.append(bytes);
                       return true;
                     });
  if (!response) return failed(response.error());
  if (!response->ok()) return failed(Error{Errc::os, response->message()});
  const JournalScan scan = scan_journal(text);
  if (scan.events.empty()) {
    // Nothing was ever said of it: is there such a thing at all?
    const Result<std::vector<ListedContainer>> known = list_containers(*client, {command.name});
    if (!known) return failed(known.error());
  }
  std::vector<WhyIncident> incidents = why_incidents(scan.events);
  if (!command.all) {
    std::erase_if(incidents, [](const WhyIncident& incident) { return !is_action(incident); });
  }
  if (scan.newer > 0) {
    std::fprintf(stderr, "keepwell: %llu records of a newer version were passed over\n",
                 static_cast<unsigned long long>(scan.newer));
  }
  if (incidents.empty() && !command.json) {
    std::printf("%s: the journal knows of no restart\n", printable(command.name).c_str());
  }
  const auto last = static_cast<std::size_t>(command.last);
  const std::size_t first = incidents.size() > last ? incidents.size() - last : 0;
  const int offset = local_zone(Loop::now().wall).utc_offset_seconds;
  for (std::size_t i = first; i < incidents.size(); ++i) {
    if (command.json) {
      std::puts(why_json(incidents[i]).c_str());
    } else {
      std::printf("%s%s", i == first ? "" : "\n", why_text(incidents[i], offset).c_str());
    }
  }
  return 0;
}

}  // namespace keepwell
