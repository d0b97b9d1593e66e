// From state to Prometheus: the families of peer-features.md 3c, built straight from the
// ContainerStatus of each service at the moment of the scrape. There is no Registry beside the
// state that could drift from it, and nothing to remove when a service goes. They are handed on in
// small pieces whose memory is used again, so that a scrape of 1,000 services holds only its text.
//
// Every series whose labels are a closed set (states, reasons, results) is there from the first
// scrape on, with 0. A service that has no process (created, starting, backoff, exited, failed) has
// no health and no check_status: its last verdict is only a memory. keepwell_check_up is 0 while
// a service that is meant to run does not, and absent for one that is meant to rest.
#pragma once

#include <functional>
#include <span>

#include "config/spec.h"
#include "exporters/agent_stats.h"
#include "exporters/container_status.h"
#include "exporters/service_usage.h"

namespace prometheus {
struct MetricFamily;
}

namespace keepwell {

struct MetricsInput {
  std::span<const ContainerStatus* const> containers;  // in file order
  const AgentStats* agent = nullptr;
  // Containers beyond max_services have no series of their own; keepwell_metrics_services_omitted
  // says how many they are.
  MetricsSpec spec;
  // What a container uses; null where that is not known. Unset: nothing is known of any.
  std::function<const ServiceUsage*(const ContainerStatus&)> usage = nullptr;
};

// Calls SINK with each family in turn. A family comes in one or more pieces, one directly behind
// the other and none of them empty; `first` tells its first. A piece is good only during the call.
// REQUIRES: input.agent is set; it and the containers live until the call returns.
void each_metric_family(
    const MetricsInput& input,
    const std::function<void(const prometheus::MetricFamily& piece, bool first)>& sink);

}  // namespace keepwell
