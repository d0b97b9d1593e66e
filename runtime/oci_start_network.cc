// The step of OciStart that gives the container its networks, or another's.
#include "runtime/oci_start.h"

namespace keepwell {

void OciStart::connect() {
  const ServiceSpec& spec = *order_.spec;
  constexpr std::string_view kService = "service:";
  if (spec.network_mode.starts_with(kService)) {
    Status shared = share_network(spec.network_mode.substr(kService.size()));
    if (!shared) return give_up(128, shared.error().text);
    return make_bundle();
  }
  if (spec.networks.empty()) return make_bundle();
  NetworkOrder order{.client = {id_, order_.name, spec.name, spec.hostname},
                     .uses = spec.networks,
                     .ports = spec.ports,
                     .implicit = spec.networks_implicit};
  context_->networks.set_up(std::move(order),
                            [this, alive = alive_](Result<const NetworkRecord*> record) {
                              if (!*alive) return;
                              if (!record) return give_up(128, record.error().text);
                              network_ = *record;
                              joins_ = network_ != nullptr;
                              make_bundle();
                            });
}

Status OciStart::share_network(const std::string& service) {
  EngineContext::Running target = context_->find_running(order_.project, service);
  if (target.pidfd < 0)
    return fail(Errc::not_found, "cannot start " + order_.name +
                                     ": it is to be in the network of " + service +
                                     ", which does not run");
  Status shared = context_->networks.share(id_, order_.name, target.id, target.pid, target.pidfd);
  if (!shared) return fail(shared.error().with("cannot start " + order_.name));
  network_ = context_->networks.find(id_);
  joins_ = true;
  return {};
}

EtcNetwork OciStart::etc_network() const {
  EtcNetwork etc;
  if (network_ == nullptr) return etc;
  for (const Endpoint& e : network_->endpoints) {
    for (const EndpointSubnet& s : e.subnets) {
      etc.addresses.push_back(to_string(s.address));
      if (!s.subnet.base.v6) etc.name_servers.push_back(to_string(s.gateway));
      if (etc.host_gateway.empty()) etc.host_gateway = to_string(s.gateway);
    }
  }
  return etc;
}

}  // namespace keepwell
