// What clients ask before anything else (ping, version, info), what Prometheus and load balancers
// ask (metrics, healthz, readyz, sd), and the lists of things that we have none of.
#include <array>
#include <nlohmann/json.hpp>

#include "agent/api/router.h"
#include "agent/event_bus.h"
#include "exporters/check_costs.h"
#include "exporters/health_json.h"
#include "exporters/readiness.h"
#include "exporters/version_json.h"
#include "runtime/loop.h"

namespace keepwell {
namespace {

constexpr const char* kPlainText = "text/plain; charset=utf-8";

void get_ping(const ApiCall& call) {
  call.exchange->respond({200,
                          kPlainText,
                          "OK",
                          {{"Cache-Control", "no-cache, no-store, must-revalidate"},
                           {"Pragma", "no-cache"},
                           {"Swarm", "inactive"}}});
}

void get_version(const ApiCall& call) {
  respond_json(call, version_json(call.api->host().version));
}

void get_info(const ApiCall& call) {
  HostFacts facts = call.api->host();
  facts.containers = facts.running = facts.paused = facts.stopped = 0;
  for (const ContainerStatus* container : call.api->containers()) {
    ++facts.containers;
    if (container->state == ServiceState::paused) {
      ++facts.paused;
    } else if (is_running(*container) || is_restarting(*container)) {
      ++facts.running;
    } else {
      ++facts.stopped;
    }
  }
  facts.now = Loop::now().wall;
  respond_json(call, info_json(facts));
}

void get_metrics(const ApiCall& call) {
  const std::string* accept = find_field(call.exchange->request().fields, "accept");
  HttpResponse response;
  response.body = call.api->metrics(accept ? *accept : std::string(), response.content_type);
  call.exchange->respond(response);
}

void answer_state(const ApiCall& call, const std::string& why_not) {
  if (why_not.empty()) {
    call.exchange->respond({200, kPlainText, "ok\n", {}});
  } else {
    call.exchange->respond({503, kPlainText, why_not + "\n", {}});
  }
}

// The containers of ?service=NAME; all of them without it; none if the call was answered.
std::optional<std::vector<const ContainerStatus*>> asked_containers(const ApiCall& call) {
  std::vector<const ContainerStatus*> all = call.api->containers();
  const std::string* service = call.query.find("service");
  if (!service) return all;
  std::erase_if(all, [service](const ContainerStatus* c) { return c->spec->name != *service; });
  if (!all.empty()) return all;
  call.exchange->fail(404, "No such service: " + *service);
  return std::nullopt;
}

void get_healthz(const ApiCall& call) {
  const auto containers = asked_containers(call);
  if (!containers) return;
  const std::string why_not = call.api->not_alive();
  answer_state(call, why_not.empty() ? why_not_live(*containers) : why_not);
}

void get_readyz(const ApiCall& call) {
  const auto containers = asked_containers(call);
  if (!containers) return;
  const std::string why_not = call.api->not_ready();
  answer_state(call, why_not.empty() ? why_not_ready(*containers) : why_not);
}

// Prometheus http_sd: one group for each service's labels would need its ports to be published;
// what there is to scrape is this very port.
void get_sd(const ApiCall& call) {
  const std::shared_ptr<const ProjectSpec> project = call.api->project();
  const std::string* host = find_field(call.exchange->request().fields, "host");
  const std::string target = host && !host->empty() ? *host
                             : project              ? project->metrics.listen
                                                    : std::string("127.0.0.1:9790");
  nlohmann::ordered_json labels = {{"__metrics_path__", "/metrics"}};
  if (project) labels["project"] = project->name;
  const nlohmann::ordered_json groups = {{{"targets", {target}}, {"labels", labels}}};
  respond_json(call, json_text(groups));
}

void get_check_costs(const ApiCall& call) {
  respond_json(call, check_costs_json(call.api->containers()));
}

void get_empty_list(const ApiCall& call) { respond_json(call, "[]"); }
void get_volumes(const ApiCall& call) { respond_json(call, R"({"Volumes":[],"Warnings":null})"); }

void get_no_volume(const ApiCall& call) {
  call.exchange->fail(404, "get " + call.params.front() + ": no such volume");
}
void get_no_plugin(const ApiCall& call) {
  call.exchange->fail(404, "plugin \"" + call.params.front() + "\" not found");
}
void get_no_swarm(const ApiCall& call) {
  call.exchange->fail(503,
                      "This node is not a swarm manager: keepwell runs the services of one host");
}

void post_reload(const ApiCall& call) {
  if (!call.api->reload) {
    call.exchange->fail(501, "this agent cannot reload its configuration");
    return;
  }
  call.api->reload(call.exchange->body(), [call](const Status& done) {
    if (done) {
      call.exchange->respond({204, "", "", {}});
    } else {
      fail_call(call, done.error());
    }
  });
}

void post_upgrade(const ApiCall& call) {
  if (!call.api->upgrade) {
    call.exchange->fail(501, "this agent cannot be upgraded");
    return;
  }
  call.api->upgrade(call.exchange->body(), [call](const Status& done) {
    if (done) {
      call.exchange->respond({204, "", "", {}});
    } else {
      fail_call(call, done.error());
    }
  });
}

constexpr std::array kRoutes{
    Route{"GET", "/_ping", get_ping},
    Route{"HEAD", "/_ping", get_ping},
    Route{"GET", "/version", get_version},
    Route{"GET", "/info", get_info},
    Route{"GET", "/metrics", get_metrics, true},
    Route{"GET", "/healthz", get_healthz, true},
    Route{"GET", "/readyz", get_readyz, true},
    Route{"GET", "/sd", get_sd, true},
    Route{"GET", "/plugins", get_empty_list},
    Route{"GET", "/volumes", get_volumes},
    Route{"GET", "/volumes/{name*}", get_no_volume},
    Route{"GET", "/plugins/{name*}", get_no_plugin},
    Route{"GET", "/swarm", get_no_swarm},
    Route{"GET", "/nodes", get_no_swarm},
    Route{"GET", "/services", get_no_swarm},
    Route{"GET", "/tasks", get_no_swarm},
    Route{"GET", "/secrets", get_no_swarm},
    Route{"GET", "/configs", get_no_swarm},
    Route{"GET", "/keepwell/checks/costs", get_check_costs},
    // The configuration: some 2 KiB a service.
    Route{.method = "POST",
          .pattern = "/keepwell/reload",
          .handler = post_reload,
          .body_bytes_max = 16 << 20},
    Route{"POST", "/keepwell/upgrade", post_upgrade},
};

}  // namespace

std::span<const Route> system_routes() { return kRoutes; }

}  // namespace keepwell
