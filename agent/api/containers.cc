// The list of containers, and one of them: GET /containers/json and /containers/{id}/json; and top,
// which shows a container's processes.
#include <array>
#include <nlohmann/json.hpp>

#include "agent/api/router.h"
#include "agent/exec_sessions.h"
#include "exporters/container_filter.h"
#include "exporters/health_json.h"
#include "exporters/inspect_json.h"
#include "runtime/loop.h"
#include "runtime/process_table.h"

namespace keepwell {
namespace {

void get_list(const ApiCall& call) {
  Result<Filters> filters = parse_filters(call.query.text("filters"));
  if (!filters) {
    fail_call(call, filters.error());
    return;
  }
  const Result<std::optional<std::int64_t>> limit = call.query.number("limit");
  if (!limit) {
    fail_call(call, limit.error());
    return;
  }
  ListQuery query;
  query.all = call.query.flag("all");
  query.limit = static_cast<int>(std::clamp<std::int64_t>(limit->value_or(0), 0, 1 << 30));
  query.filters = std::move(*filters);
  query.facts = call.api->facts;
  const std::vector<const ContainerStatus*> all = call.api->containers();
  const auto selected = select_containers(all, query);
  if (!selected) {
    const Error& error = selected.error();
    call.exchange->fail(error.code == Errc::not_found ? 404 : 400, error.text);
    return;
  }
  const Now now = Loop::now();
  const bool size = call.query.flag("size");
  std::string list = "[";
  for (const ContainerStatus* container : *selected) {
    if (list.size() > 1) list += ',';
    list += list_entry_json(*container, call.api->facts(*container), now, size);
  }
  respond_json(call, list + "]");
}

void get_inspect(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  RuntimeFacts facts = call.api->facts(*container);
  if (call.api->execs) facts.exec_ids = call.api->execs->unfinished(container->id);
  respond_json(call, inspect_json(*container, facts, Loop::now(), call.query.flag("size")));
}

// ---- top

void get_top(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  if (is_restarting(*container)) {
    call.exchange->fail(
        409, "Container " + container->id + " is restarting, wait until the container is running");
    return;
  }
  if (!is_running(*container)) {
    call.exchange->fail(409, "container " + container->id + " is not running");
    return;
  }
  if (!call.api->pids) {
    call.exchange->fail(501, "this agent cannot list the processes of a container");
    return;
  }
  const std::string* asked = call.query.find("ps_args");
  const Result<std::vector<int>> pids = call.api->pids(*container);
  if (!pids) {
    fail_call(call, pids.error());
    return;
  }
  const Result<ProcessTable> table =
      list_processes(*pids, asked && !asked->empty() ? *asked : "-ef", Loop::now());
  if (!table) {
    fail_call(call, table.error());
    return;
  }
  publish_event(*call.api, container->id, "top");
  nlohmann::ordered_json answer;
  answer["Titles"] = table->titles;
  answer["Processes"] = table->rows;
  respond_json(call, json_text(answer));
}

constexpr std::array kRoutes{
    Route{"GET", "/containers/json", get_list},
    Route{"GET", "/containers/{id}/json", get_inspect},
    Route{"GET", "/containers/{id}/top", get_top},
};

}  // namespace

std::span<const Route> container_routes() { return kRoutes; }

}  // namespace keepwell
