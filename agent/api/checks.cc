// keepwell's own: health checks that are run now, paused and resumed by hand.
#include <array>
#include <nlohmann/json.hpp>

#include "agent/api/router.h"
#include "exporters/health_json.h"
#include "runtime/loop.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

// The probes that one request asks for; answers when the last of them has ended.
struct ProbeRequest {
  ApiCall call;
  std::string id;
  std::vector<std::string> names;
  std::size_t open = 0;
  std::optional<Error> error;  // the first

  void ended(const Status& done) {
    if (!done && !error) error = done.error();
    if (--open == 0) answer();
  }

  void answer() const {
    if (error) return fail_call(call, *error);
    const Result<const ContainerStatus*> container = find_container(*call.api, id);
    if (!container) return fail_call(call, container.error());
    ordered_json results = ordered_json::array();
    const Now now = Loop::now();
    for (const CheckStatus& check : (*container)->checks) {
      if (std::find(names.begin(), names.end(), check.spec->name) == names.end()) continue;
      ordered_json result = check_object(check, now);
      result["Passed"] = !check.log.empty() && check.log.back().passed();
      results.push_back(std::move(result));
    }
    respond_json(call, json_text({{"Container", (*container)->name}, {"Checks", results}}));
  }
};

void post_probe(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  const std::string wanted = call.query.text("check");
  auto request = std::make_shared<ProbeRequest>(ProbeRequest{call, container->id, {}, 0, {}});
  for (const CheckStatus& check : container->checks) {
    if (wanted.empty() || check.spec->name == wanted) request->names.push_back(check.spec->name);
  }
  if (request->names.empty()) {
    call.exchange->fail(404, wanted.empty()
                                 ? "cannot find a health check of " + container->name
                                 : "cannot find check " + wanted + " of " + container->name);
    return;
  }
  request->open = request->names.size();
  for (const std::string& name : request->names) {
    Command command;
    command.kind = Command::Kind::probe_now;
    command.container = request->id;
    command.check = name;
    call.api->submit(std::move(command), [request](const Status& done) { request->ended(done); });
  }
}

void set_paused(const ApiCall& call, Command::Kind kind) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  Command command;
  command.kind = kind;
  command.container = container->id;
  command.check = call.params.at(1);
  call.api->submit(std::move(command), [call](const Status& done) {
    done ? call.exchange->respond({204, "", "", {}}) : fail_call(call, done.error());
  });
}

void post_pause(const ApiCall& call) { set_paused(call, Command::Kind::pause_check); }
void post_resume(const ApiCall& call) { set_paused(call, Command::Kind::resume_check); }

constexpr std::array kRoutes{
    Route{"POST", "/keepwell/containers/{id}/probe", post_probe},
    Route{"POST", "/keepwell/containers/{id}/checks/{check}/pause", post_pause},
    Route{"POST", "/keepwell/containers/{id}/checks/{check}/resume", post_resume},
};

}  // namespace

std::span<const Route> check_routes() { return kRoutes; }

}  // namespace keepwell
