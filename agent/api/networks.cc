// GET /networks and /networks/{id}. They are made by the Compose file, not here.
#include <array>

#include "agent/api/router.h"
#include "exporters/network_list.h"

namespace keepwell {
namespace {

std::vector<NetworkView> views_of(const ApiCall& call) {
  std::vector<NetworkMember> members;
  for (const ContainerStatus* container : call.api->containers()) {
    if (container->spec->networks.empty()) continue;
    members.push_back({container, call.api->facts(*container).networks});
  }
  return network_views(members);
}

void list_networks(const ApiCall& call) {
  Result<Filters> filters = parse_filters(call.query.text("filters"));
  if (!filters) return fail_call(call, filters.error());
  const std::vector<NetworkView> views = views_of(call);
  Result<std::vector<const NetworkView*>> selected = select_networks(views, *filters);
  if (!selected) return fail_call(call, selected.error());
  respond_json(call, network_list_json(*selected));
}

void inspect_network(const ApiCall& call) {
  const std::vector<NetworkView> views = views_of(call);
  Result<const NetworkView*> view = find_network(views, call.params[0]);
  if (!view) return fail_call(call, view.error());
  respond_json(call, network_inspect_json(**view));
}

constexpr std::array kRoutes{Route{"GET", "/networks", list_networks},
                             Route{"GET", "/networks/{id}", inspect_network}};

}  // namespace

std::span<const Route> network_routes() { return kRoutes; }

}  // namespace keepwell
