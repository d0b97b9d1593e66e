// The two text formats of a scrape. Classic text is byte for byte what prometheus-cpp's own
// TextSerializer writes for the same families (a test holds the two against each other), by a
// writer that needs no iostream and so fits 1,000 services into a scrape of a few milliseconds.
// OpenMetrics 1.0 differs in the names of counter families, canonical `le` values and `# EOF`.
#pragma once

#include <string>
#include <string_view>

#include "exporters/metrics.h"

namespace keepwell {

enum class MetricsFormat { text, openmetrics };

// The whole answer to GET /metrics. Valid UTF-8 whatever the labels hold.
std::string render_metrics(const MetricsInput& input, MetricsFormat format);

// For the Content-Type header.
const char* metrics_content_type(MetricsFormat format);

// What an Accept header asks for: openmetrics only where it is named with a quality not below that
// of text/plain and not 0; else text.
MetricsFormat metrics_format_for(std::string_view accept_header);

// Appends one family; for tests and for who has families of his own.
void append_family(std::string& out, const prometheus::MetricFamily& family, MetricsFormat format);

}  // namespace keepwell
