#include "exporters/metric_writer.h"

#include "config/check.h"

namespace keepwell {
namespace {

void set_label(prometheus::ClientMetric::Label& label, std::string_view name,
               std::string_view value) {
  label.name.assign(name);
  label.value.assign(value);
}

}  // namespace

void MetricWriter::family(const char* name, prometheus::MetricType type, const char* help) {
  flush();
  piece_.name = name;
  piece_.help = help;
  piece_.type = type;
  first_ = true;
  common_used_ = 0;
}

void MetricWriter::common(std::initializer_list<LabelView> labels) {
  if (common_.size() < labels.size()) common_.resize(labels.size());
  common_used_ = 0;
  for (const LabelView& label : labels) {
    // An empty value is the same as no label, in Prometheus' own model.
    if (!label.value.empty()) set_label(common_[common_used_++], label.name, label.value);
  }
}

prometheus::ClientMetric& MetricWriter::next(std::initializer_list<LabelView> labels) {
  if (used_ == piece_.metric.size()) piece_.metric.emplace_back();
  prometheus::ClientMetric& metric = piece_.metric[used_++];
  metric.label.resize(common_used_ + labels.size());
  std::size_t at = 0;
  for (; at < common_used_; ++at) {
    set_label(metric.label[at], common_[at].name, common_[at].value);
  }
  for (const LabelView& label : labels) set_label(metric.label[at++], label.name, label.value);
  return metric;
}

void MetricWriter::sample(double value, std::initializer_list<LabelView> labels) {
  prometheus::ClientMetric& metric = next(labels);
  if (piece_.type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
}

void MetricWriter::histogram(const DurationStats& stats, std::span<const double> bounds,
                             std::initializer_list<LabelView> labels) {
  // Of another version of the bounds, out of a stored state: better empty than wrong.
  const bool known = stats.buckets.size() == bounds.size();
  prometheus::ClientMetric::Histogram& histogram = next(labels).histogram;
  histogram.sample_count = known ? stats.count : 0;
  histogram.sample_sum = known ? stats.sum_seconds : 0;
  histogram.bucket.resize(bounds.size());
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    histogram.bucket[i] = {known ? stats.buckets[i] : 0, bounds[i]};
  }
}

void MetricWriter::flush() {
  if (used_ == 0) return;
  piece_.metric.resize(used_);
  sink_(piece_, first_);
  first_ = false;
  used_ = 0;
}

void MetricWriter::counter(const char* name, const char* help, double value) {
  family(name, prometheus::MetricType::Counter, help);
  sample(value);
}

void MetricWriter::gauge(const char* name, const char* help, double value) {
  family(name, prometheus::MetricType::Gauge, help);
  sample(value);
}

}  // namespace keepwell
