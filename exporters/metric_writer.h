// Builds prometheus::MetricFamily pieces in memory that is used again and again: after the first
// container a family costs no allocation. Used by metrics.cc and agent_metrics.cc.
#pragma once

#include <prometheus/metric_family.h>

#include <functional>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "exporters/agent_stats.h"
#include "exporters/container_status.h"

namespace keepwell {

struct LabelView {
  std::string_view name;
  std::string_view value;
};

class MetricWriter {
 public:
  using Sink = std::function<void(const prometheus::MetricFamily&, bool first)>;
  explicit MetricWriter(const Sink& sink) : sink_(sink) {}

  // Begins a family; the one before is complete.
  void family(const char* name, prometheus::MetricType type, const char* help);

  // Labels that stand in front of those of each following sample.
  void common(std::initializer_list<LabelView> labels);

  void sample(double value, std::initializer_list<LabelView> labels = {});
  void histogram(const DurationStats& stats, std::span<const double> bounds,
                 std::initializer_list<LabelView> labels = {});

  // Hands on what is there.
  void flush();

  // Both of a family with one sample.
  void counter(const char* name, const char* help, double value);
  void gauge(const char* name, const char* help, double value);

 private:
  prometheus::ClientMetric& next(std::initializer_list<LabelView> labels);

  const Sink& sink_;
  prometheus::MetricFamily piece_;
  std::size_t used_ = 0;
  bool first_ = true;
  std::vector<prometheus::ClientMetric::Label> common_;
  std::size_t common_used_ = 0;
};

// Everything that is not of one service. OMITTED: containers that max_services left out.
void write_agent_families(MetricWriter& writer, const AgentStats& agent, std::size_t omitted,
                          bool histograms);

}  // namespace keepwell
