#include "exporters/metrics_text.h"

#include <prometheus/metric_family.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "config/check.h"
#include "exporters/utf8.h"

namespace keepwell {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr std::string_view kTotal = "_total";
constexpr std::string_view kInfo = "_info";

bool needs_no_escape(std::string_view text) {
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7F || c == '"' || c == '\\') return false;
  }
  return true;
}

// Label values, and in OpenMetrics help texts too; classic help texts know no \".
void append_escaped(std::string& out, std::string_view text, bool quotes) {
  if (needs_no_escape(text)) {
    out += text;
    return;
  }
  for (char c : valid_utf8(text)) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\\') {
      out += "\\\\";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

void append_number(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
    return;
  }
  if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
    return;
  }
  // Counts are integers nearly always. to_chars alone picks the shorter of 5e-04 and 0.0005, but
  // people write the latter in their queries (as `le`), and so does Go.
  std::array<char, 64> text;
  char* const begin = text.data();
  char* const limit = begin + text.size();
  const double size = std::fabs(value);
  const bool integer = value == std::floor(value) && size < 9007199254740992.0;  // 2^53
  const std::to_chars_result end =
      integer                       ? std::to_chars(begin, limit, static_cast<std::int64_t>(value))
      : size >= 1e-4 && size < 1e15 ? std::to_chars(begin, limit, value, std::chars_format::fixed)
                                    : std::to_chars(begin, limit, value);
  out.append(text.data(), end.ptr);
}

void append_integer(std::string& out, std::uint64_t value) {
  std::array<char, 24> text;
  out.append(text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr);
}

// `le` of a bucket; OpenMetrics wants "1.0" where classic text says "1".
std::string bound_text(double bound, MetricsFormat format) {
  std::string text;
  append_number(text, bound);
  const bool plain = text.find_first_not_of("0123456789") == std::string::npos;
  if (format == MetricsFormat::openmetrics && plain) text += ".0";
  return text;
}

void append_labels(std::string& out, const std::vector<ClientMetric::Label>& labels) {
  const char* between = "";
  for (const ClientMetric::Label& label : labels) {
    out += between;
    out += label.name;
    out += "=\"";
    append_escaped(out, label.value, true);
    out += '"';
    between = ",";
  }
}

void append_sample(std::string& out, std::string_view name, const ClientMetric& metric,
                   double value) {
  out += name;
  if (!metric.label.empty()) {
    out += '{';
    append_labels(out, metric.label);
    out += '}';
  }
  out += ' ';
  append_number(out, value);
  out += '\n';
}

void append_histogram(std::string& out, const MetricFamily& family, const ClientMetric& metric,
                      MetricsFormat format) {
  const ClientMetric::Histogram& histogram = metric.histogram;
  std::string head = family.name + "_bucket{";
  append_labels(head, metric.label);
  head += metric.label.empty() ? "le=\"" : ",le=\"";
  const auto bucket = [&](std::string_view bound, std::uint64_t count) {
    out += head;
    out += bound;
    out += "\"} ";
    append_integer(out, count);
    out += '\n';
  };
  bool infinite = false;
  for (const ClientMetric::Bucket& one : histogram.bucket) {
    bucket(bound_text(one.upper_bound, format), one.cumulative_count);
    infinite = std::isinf(one.upper_bound);
  }
  if (!infinite) bucket("+Inf", histogram.sample_count);
  append_sample(out, family.name + "_sum", metric, histogram.sample_sum);
  append_sample(out, family.name + "_count", metric, static_cast<double>(histogram.sample_count));
}

const char* type_text(MetricType type) {
  switch (type) {
    case MetricType::Counter:
      return "counter";
    case MetricType::Gauge:
      return "gauge";
    case MetricType::Histogram:
      return "histogram";
    default:
      KW_CHECK(false);  // each_metric_family makes no others
  }
}

void append_head(std::string& out, const MetricFamily& family, MetricsFormat format) {
  std::string_view name = family.name;
  const bool open = format == MetricsFormat::openmetrics;
  const bool info = open && family.type == MetricType::Gauge && name.ends_with(kInfo);
  if (info) name.remove_suffix(kInfo.size());
  if (open && family.type == MetricType::Counter && name.ends_with(kTotal)) {
    name.remove_suffix(kTotal.size());
  }
  if (!family.help.empty()) {
    out += "# HELP ";
    out += name;
    out += ' ';
    append_escaped(out, family.help, open);
    out += '\n';
  }
  out += "# TYPE ";
  out += name;
  out += ' ';
  out += info ? "info" : type_text(family.type);
  out += '\n';
}

// The value after `q=` of one part of an Accept header; 1 without one.
double quality(std::string_view part) {
  const std::size_t at = part.find("q=");
  if (at == std::string_view::npos) return 1;
  double value = 0;
  const std::string_view digits = part.substr(at + 2);
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

}  // namespace

void append_family(std::string& out, const MetricFamily& piece, bool first, MetricsFormat format) {
  if (first) append_head(out, piece, format);
  for (const ClientMetric& metric : piece.metric) {
    switch (piece.type) {
      case MetricType::Counter:
        append_sample(out, piece.name, metric, metric.counter.value);
        break;
      case MetricType::Histogram:
        append_histogram(out, piece, metric, format);
        break;
      default:
        append_sample(out, piece.name, metric, metric.gauge.value);
        break;
    }
  }
}

std::string render_metrics(const MetricsInput& input, MetricsFormat format) {
  std::string out;
  out.reserve(8192 + input.containers.size() * 8192);
  each_metric_family(input, [&](const MetricFamily& piece, bool first) {
    append_family(out, piece, first, format);
  });
  if (format == MetricsFormat::openmetrics) out += "# EOF\n";
  return out;
}

const char* metrics_content_type(MetricsFormat format) {
  return format == MetricsFormat::openmetrics
             ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
             : "text/plain; version=0.0.4; charset=utf-8";
}

MetricsFormat metrics_format_for(std::string_view accept_header) {
  double open = 0;
  double text = 0;
  while (!accept_header.empty()) {
    const std::size_t comma = accept_header.find(',');
    const std::string_view part = accept_header.substr(0, comma);
    accept_header.remove_prefix(comma == std::string_view::npos ? accept_header.size() : comma + 1);
    if (part.find("application/openmetrics-text") != std::string_view::npos) {
      open = std::max(open, quality(part));
    } else if (part.find("text/plain") != std::string_view::npos) {
      text = std::max(text, quality(part));
    }
  }
  return open > 0 && open >= text ? MetricsFormat::openmetrics : MetricsFormat::text;
}

}  // namespace keepwell
