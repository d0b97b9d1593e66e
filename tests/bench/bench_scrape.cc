// What a scrape costs: time and bytes of /metrics for 1 to 1,000 services, each histogram setting
// and both formats; beside it prometheus-cpp's own serializer on the same families. Prints a table;
// it is no test, since times are only told.
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "exporters/duration_stats.h"
#include "exporters/metrics_text.h"

using namespace keepwell;

namespace {

std::vector<ContainerStatus> services(std::size_t count) {
  std::vector<ContainerStatus> all(count);
  for (std::size_t i = 0; i < count; ++i) {
    auto spec = std::make_shared<ServiceSpec>();
    spec->name = "service-" + std::to_string(i);
    spec->image = "registry.example/team/service:1.2.3";
    spec->checks.resize(1);
    ContainerStatus& c = all[i];
    c.spec = spec;
    c.id = std::string(64, 'a');
    c.state = ServiceState::running;
    c.health = Health::healthy;
    c.started = WallTime{std::chrono::seconds(1795550400)};
    c.checks.resize(1);
    c.checks[0].spec = std::make_shared<CheckSpec>(spec->checks[0]);
    c.checks[0].status = Health::healthy;
    for (int n = 0; n < 1000; ++n) {
      ProbeResult result;
      result.ended = Instant(std::chrono::microseconds(700 * n));
      result.exit_code = n % 50 == 0 ? 1 : 0;
      observe_probe(c.checks[0], result);
    }
  }
  return all;
}

// Milliseconds of the fastest of several runs.
template <class Run>
double best_of(int runs, Run run) {
  double best = 1e9;
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  return best;
}

std::size_t by_their_serializer(const MetricsInput& input) {
  std::vector<prometheus::MetricFamily> families;
  each_metric_family(input, [&](const prometheus::MetricFamily& piece, bool first) {
    if (first) {
      families.push_back(piece);
    } else {
      auto& metrics = families.back().metric;
      metrics.insert(metrics.end(), piece.metric.begin(), piece.metric.end());
    }
  });
  return prometheus::TextSerializer().Serialize(families).size();
}

void measure(std::size_t count) {
  const std::vector<ContainerStatus> all = services(count);
  std::vector<const ContainerStatus*> pointers;
  pointers.reserve(count);
  for (const ContainerStatus& c : all) pointers.push_back(&c);
  AgentStats agent;
  MetricsInput input{.containers = pointers, .agent = &agent, .spec = {}};
  using Histograms = MetricsSpec::Histograms;
  struct Row {
    const char* name;
    Histograms histograms;
    MetricsFormat format;
  };
  const Row rows[] = {
      {"text, per_service", Histograms::per_service, MetricsFormat::text},
      {"text, per_check", Histograms::per_check, MetricsFormat::text},
      {"text, off", Histograms::off, MetricsFormat::text},
      {"openmetrics, per_service", Histograms::per_service, MetricsFormat::openmetrics}};
  for (const Row& row : rows) {
    input.spec.histograms = row.histograms;
    std::string text;
    const double ms = best_of(7, [&] { text = render_metrics(input, row.format); });
    std::printf("%8zu  %-28s %9.2f ms %10zu bytes %8zd series\n", count, row.name, ms, text.size(),
                std::count(text.begin(), text.end(), '\n'));
  }
  input.spec.histograms = Histograms::per_service;
  const double ms = best_of(3, [&] { by_their_serializer(input); });
  std::printf("%8zu  %-28s %9.2f ms\n", count, "prometheus::TextSerializer", ms);
}

}  // namespace

int main() {
  std::printf("services  what\n");
  for (std::size_t count : {1U, 100U, 1000U}) measure(count);
  return 0;
}
