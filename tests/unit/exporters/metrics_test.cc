#include "exporters/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <set>

#include "exporters/duration_stats.h"
#include "exporters/metrics_text.h"
#include "fixtures.h"

using namespace keepwell;
using namespace std::chrono_literals;

namespace {

AgentStats agent_stats() {
  AgentStats stats;
  stats.version = "0.1.0";
  stats.commit = "abc";
  stats.libuv = "1.44.2";
  observe(stats.loop_lag, 200us, kLoopLagBounds);
  observe(stats.probe_lateness, 3ms, kProbeLatenessBounds);
  auto& route = stats.api[{"/containers/{id}/json", "GET"}];
  route.by_class = {0, 7, 0, 1, 0};
  observe(route.duration, 400us, kApiDurationBounds);
  stats.exec_sessions_total = 3;
  stats.exec_bytes_out_total = 4096;
  stats.config_last_reload = kStart;
  stats.log = AgentStats::LogStats{.bytes_total = 100, .lines_total = 5, .stalled_total = 1500ms};
  stats.hooks["notify"] = {.runs_total = 2, .failures_total = 1};
  stats.pressure.push_back({.resource = "cpu", .some = 0.25, .full = 0.0});
  stats.pressure_guard_active = false;
  stats.process = ProcessStats{.cpu_seconds = 1.25, .resident_bytes = 9 << 20, .open_fds = 12};
  return stats;
}

struct Scrape {
  std::vector<ContainerStatus> containers;
  AgentStats agent = agent_stats();
  MetricsSpec spec;

  MetricsInput input(const std::vector<const ContainerStatus*>& pointers) const {
    return {.containers = pointers, .agent = &agent, .spec = spec};
  }
  std::vector<const ContainerStatus*> pointers() const {
    std::vector<const ContainerStatus*> all;
    for (const ContainerStatus& c : containers) all.push_back(&c);
    return all;
  }
  std::string text(MetricsFormat format = MetricsFormat::text) const {
    const auto all = pointers();
    return render_metrics(input(all), format);
  }
};

// LINE with the number behind BEFORE written in one way: 5e-04 and 0.0005 are the same.
std::string canonical(std::string line, const std::string& before) {
  const std::size_t at = line.rfind(before);
  if (line.starts_with("#") || at == std::string::npos) return line;
  char* end = nullptr;
  const double value = std::strtod(line.c_str() + at + before.size(), &end);
  std::array<char, 40> text;
  std::snprintf(text.data(), text.size(), "%.15g", value);
  return line.substr(0, at) + before + text.data() + end;
}

std::multiset<std::string> lines(const std::string& text) {
  std::multiset<std::string> all;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    all.insert(canonical(canonical(line, " "), "le=\""));
  }
  return all;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_CASE("a scrape of one service") {
  Scrape scrape;
  scrape.containers = {web()};
  check_golden("metrics.txt", scrape.text());
  check_golden("metrics_openmetrics.txt", scrape.text(MetricsFormat::openmetrics));
}

TEST_CASE("two services, one of them waiting, histograms by check") {
  Scrape scrape;
  scrape.containers = {web(), web()};
  auto other = web_spec();
  other->name = "other";
  scrape.containers[1].spec = other;
  scrape.containers[1].state = ServiceState::backoff;
  scrape.containers[1].backoff = 400ms;
  scrape.containers[1].finished = kStart;
  scrape.spec.histograms = MetricsSpec::Histograms::per_check;
  check_golden("metrics_two.txt", scrape.text());
}

TEST_CASE("classic text says what prometheus-cpp's own serializer says") {
  Scrape scrape;
  auto odd = web_spec();
  odd->name = "odd\"\\\nname";
  scrape.containers = {web(), web()};
  scrape.containers[1].spec = odd;
  observe(scrape.containers[0].stop_duration, 1500ms, kStopDurationBounds);

  std::vector<prometheus::MetricFamily> families;
  const auto all = scrape.pointers();
  each_metric_family(scrape.input(all), [&](const prometheus::MetricFamily& piece, bool first) {
    if (first) {
      families.push_back(piece);
      return;
    }
    auto& metrics = families.back().metric;
    metrics.insert(metrics.end(), piece.metric.begin(), piece.metric.end());
  });
  // The same lines; theirs puts _count and _sum of a histogram in front.
  const auto ours = lines(scrape.text());
  const auto theirs = lines(prometheus::TextSerializer().Serialize(families));
  std::vector<std::string> different;
  std::set_symmetric_difference(ours.begin(), ours.end(), theirs.begin(), theirs.end(),
                                std::back_inserter(different));
  CHECK(ours.size() > 200);
  CHECK(different == std::vector<std::string>{});
}

TEST_CASE("every series of a closed set is there from the first scrape") {
  Scrape scrape;
  ContainerStatus fresh;
  fresh.spec = web_spec();
  fresh.id = "x";
  CheckStatus check;
  check.spec = std::make_shared<CheckSpec>(fresh.spec->checks[0]);
  fresh.checks = {check};
  scrape.containers = {fresh};
  const std::string text = scrape.text();
  for (const char* reason : {"exit", "timeout", "refused", "reset", "dns", "tls", "http_status",
                             "body", "grpc_status", "spawn", "canceled"}) {
    CHECK(has_line(text, std::string("keepwell_probe_failures_total{service=\"web\",check=\"") +
                             "healthcheck\",reason=\"" + reason + "\"} 0"));
  }
  for (const char* reason :
       {"exit", "unhealthy", "dependency", "oom", "manual", "config", "watchdog"}) {
    CHECK(has_line(text, std::string("keepwell_service_restarts_total{service=\"web\",reason=\"") +
                             reason + "\"} 0"));
  }
  for (const char* reason : {"pressure", "budget", "hold", "observe", "flap"}) {
    CHECK(has_line(text, std::string("keepwell_service_restarts_suppressed_total{service=\"") +
                             "web\",reason=\"" + reason + "\"} 0"));
  }
  for (const char* state :
       {"starting", "running", "paused", "stopping", "restarting", "backoff", "exited", "failed"}) {
    CHECK(has_line(
        text, std::string("keepwell_service_state{service=\"web\",state=\"") + state + "\"} 0"));
  }
  CHECK(has_line(text, "keepwell_service_state{service=\"web\",state=\"created\"} 1"));
  CHECK(has_line(text, "keepwell_probe_duration_seconds_count{service=\"web\",result=\"pass\"} 0"));
}

TEST_CASE("in each state exactly one state is true, and health is shown with a process only") {
  for (int i = 0; i <= static_cast<int>(ServiceState::failed); ++i) {
    Scrape scrape;
    scrape.containers = {web()};
    scrape.containers[0].state = static_cast<ServiceState>(i);
    const std::string text = scrape.text();
    const std::string name = to_string(static_cast<ServiceState>(i));
    INFO(name);
    CHECK(has_line(text, "keepwell_service_state{service=\"web\",state=\"" + name + "\"} 1"));
    CHECK(count(text, "keepwell_service_state{") == 9);
    CHECK(count(text, "\"} 1\n") >= 1);
    const bool process =
        std::set<std::string>{"running", "paused", "stopping", "restarting"}.count(name) != 0;
    CHECK(count(text, "keepwell_service_health{") == (process ? 4u : 0u));
    CHECK(count(text, "keepwell_check_status{") == (process ? 4u : 0u));
    const bool rests =
        std::set<std::string>{"created", "paused", "stopping", "exited"}.count(name) != 0;
    CHECK(count(text, "keepwell_check_up{") == (rests ? 0u : 1u));
    CHECK(has_line(text, "keepwell_check_up{service=\"web\",check=\"healthcheck\"} 1") ==
          (name == "running" || name == "restarting"));
  }
}

TEST_CASE("check status") {
  Scrape scrape;
  scrape.containers = {web()};
  CheckStatus& check = scrape.containers[0].checks[0];
  const auto shows = [&](const char* status) {
    return has_line(scrape.text(),
                    std::string("keepwell_check_status{service=\"web\",check=\"healthcheck\","
                                "status=\"") +
                        status + "\"} 1");
  };
  CHECK(shows("pass"));
  check.status = Health::unhealthy;
  CHECK(shows("fail"));
  check.status = Health::starting;
  CHECK(shows("unknown"));
  check.paused_by_hand = true;
  CHECK(shows("held"));
}

TEST_CASE("replica is a label only where a service has several") {
  Scrape scrape;
  auto scaled = web_spec();
  scaled->scale = 2;
  scrape.containers = {web(), web()};
  for (int i = 0; i < 2; ++i) {
    scrape.containers[static_cast<std::size_t>(i)].spec = scaled;
    scrape.containers[static_cast<std::size_t>(i)].replica = i + 1;
  }
  CHECK(has_line(scrape.text(), "keepwell_service_starts_total{service=\"web\",replica=\"2\"} 2"));
  scrape.containers = {web()};
  CHECK(scrape.text().find("replica") == std::string::npos);
}

TEST_CASE("histograms by service, by check, or not at all") {
  Scrape scrape;
  scrape.containers = {web()};
  ContainerStatus& c = scrape.containers[0];
  auto second = std::make_shared<CheckSpec>(*c.checks[0].spec);
  second->name = "deep";
  c.checks.push_back(c.checks[0]);
  c.checks[1].spec = second;
  observe(c.checks[0].duration[0], 20ms, kProbeDurationBounds);
  observe(c.checks[1].duration[0], 2s, kProbeDurationBounds);

  std::string text = scrape.text();
  CHECK(has_line(text,
                 "keepwell_probe_duration_seconds_bucket{service=\"web\",result=\"pass\","
                 "le=\"0.1\"} 1"));
  CHECK(has_line(text, "keepwell_probe_duration_seconds_count{service=\"web\",result=\"pass\"} 2"));

  scrape.spec.histograms = MetricsSpec::Histograms::per_check;
  text = scrape.text();
  CHECK(has_line(text,
                 "keepwell_probe_duration_seconds_bucket{service=\"web\",check=\"deep\","
                 "result=\"pass\",le=\"1\"} 0"));
  CHECK(has_line(text,
                 "keepwell_probe_duration_seconds_count{service=\"web\",check=\"deep\","
                 "result=\"pass\"} 1"));
  CHECK(scrape.text(MetricsFormat::openmetrics).find("le=\"1.0\"") != std::string::npos);

  scrape.spec.histograms = MetricsSpec::Histograms::off;
  text = scrape.text();
  CHECK(text.find("keepwell_probe_duration_seconds") == std::string::npos);
  CHECK(text.find("keepwell_probe_lateness_seconds_bucket") != std::string::npos);
}

TEST_CASE("max_services bounds the scrape and says so") {
  Scrape scrape;
  scrape.containers.assign(5, web());
  for (std::size_t i = 0; i < 5; ++i) {
    auto spec = web_spec();
    spec->name = "s" + std::to_string(i);
    scrape.containers[i].spec = spec;
  }
  scrape.spec.max_services = 3;
  const std::string text = scrape.text();
  CHECK(has_line(text, "keepwell_metrics_services_omitted 2"));
  CHECK(count(text, "keepwell_service_info{") == 3);
}

TEST_CASE("labels with any bytes are valid UTF-8 on one line") {
  Scrape scrape;
  scrape.containers = {web()};
  auto spec = web_spec();
  spec->image = "a\xff\nb\"c\\d\x1b";
  scrape.containers[0].spec = spec;
  CHECK_THAT(scrape.text(),
             ContainsSubstring("image=\"a\xEF\xBF\xBD\\nb\\\"c\\\\d\x1b\",container_id="));
}

TEST_CASE("OpenMetrics where it is asked for") {
  const auto format = [](const char* accept) {
    return metrics_format_for(accept) == MetricsFormat::openmetrics;
  };
  CHECK(format("application/openmetrics-text; version=1.0.0"));
  CHECK(
      format("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,"
             "*/*;q=0.1"));
  CHECK_FALSE(format("text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.5"));
  CHECK_FALSE(format("application/openmetrics-text;q=0"));
  CHECK_FALSE(format(""));
  CHECK_FALSE(format("*/*"));
  CHECK_FALSE(format(",,;q=,"));
}

TEST_CASE("histograms count as Prometheus does: bounds belong to their bucket") {
  DurationStats stats;
  observe(stats, 100ms, kProbeDurationBounds);
  observe(stats, 101ms, kProbeDurationBounds);
  observe(stats, 61s, kProbeDurationBounds);
  observe(stats, -1s, kProbeDurationBounds);
  CHECK(stats.count == 4);
  CHECK(stats.buckets[5] == 2);  // le 0.1
  CHECK(stats.buckets[6] == 3);  // le 0.25
  CHECK(stats.buckets.front() == 1);
  CHECK(stats.buckets.back() == 3);
  CHECK(std::abs(stats.sum_seconds - 61.201) < 1e-9);
}

TEST_CASE("a finished probe is counted in its check") {
  CheckStatus check;
  ProbeResult result = probe(1, 0, "ok");
  result.output_bytes = 10000;
  result.cpu = 2ms;
  observe_probe(check, result);
  observe_probe(check, probe(2, 1, "bad"));
  observe_probe(check, probe(3, -1, ""));
  result.outcome = ProbeOutcome::voided;
  observe_probe(check, result);
  CHECK(check.probes_total == 3);
  CHECK(check.voided_total == 1);
  CHECK(check.failures_total[static_cast<std::size_t>(FailureReason::exit)] == 1);
  CHECK(check.failures_total[static_cast<std::size_t>(FailureReason::timeout)] == 1);
  CHECK(check.duration[0].count == 1);
  CHECK(check.duration[1].count == 1);
  CHECK(check.duration[2].count == 1);
  CHECK(check.output_truncated_total == 1);
  CHECK(check.output_bytes_total == 10003);
  CHECK(check.last_success == kStart + 2s + 30ms);
}

// Times are only told; what is asserted is the size, which decides them.
TEST_CASE("a scrape of 1,000 services") {
  Scrape scrape;
  scrape.containers.assign(1000, web());
  for (std::size_t i = 0; i < 1000; ++i) {
    auto spec = web_spec();
    spec->name = "service-" + std::to_string(i);
    scrape.containers[i].spec = spec;
    for (auto& duration : scrape.containers[i].checks[0].duration) {
      observe(duration, 20ms, kProbeDurationBounds);
    }
  }
  const std::string text = scrape.text();
  const auto series = std::count(text.begin(), text.end(), '\n');
  CHECK(series > 100000);
  CHECK(series < 160000);
  CHECK(text.size() < 16u << 20);
}

TEST_CASE("what a container uses: only where it is known, and while it has a process") {
  Scrape scrape;
  scrape.containers = {web()};
  const auto all = scrape.pointers();
  ServiceUsage usage{.cpu_seconds = 1.5,
                     .cpu_throttled_seconds = 0.25,
                     .memory_bytes = 3 << 20,
                     .memory_working_set_bytes = 2 << 20,
                     .memory_limit_bytes = std::nullopt,
                     .processes = 4,
                     .oom_kills = 2,
                     .network_receive_bytes = 700,
                     .network_transmit_bytes = 300,
                     .cpu_pressure_seconds = 0.5,
                     .memory_pressure_seconds = std::nullopt,
                     .io_pressure_seconds = std::nullopt};
  MetricsInput input = scrape.input(all);
  input.usage = [&](const ContainerStatus&) { return &usage; };
  const std::string text = render_metrics(input, MetricsFormat::text);
  for (const char* line : {"keepwell_service_cpu_seconds_total{service=\"web\"} 1.5",
                           "keepwell_service_network_receive_bytes_total{service=\"web\"} 700",
                           "keepwell_service_network_transmit_bytes_total{service=\"web\"} 300",
                           "keepwell_service_memory_bytes{service=\"web\"} 3145728",
                           "keepwell_service_memory_working_set_bytes{service=\"web\"} 2097152",
                           "keepwell_service_processes{service=\"web\"} 4",
                           "keepwell_service_oom_kills_total{service=\"web\"} 2",
                           "keepwell_service_pressure_seconds_total{service=\"web\",resource="
                           "\"cpu\"} 0.5"}) {
    CHECK_THAT(text, ContainsSubstring(line));
  }
  CHECK(text.find("memory_limit_bytes{") == std::string::npos);
  CHECK(text.find("resource=\"io\"") == std::string::npos);
  usage.of_cgroup = false;  // it has none: what its network says is all that is known
  const std::string bare = render_metrics(input, MetricsFormat::text);
  CHECK_THAT(
      bare, ContainsSubstring("keepwell_service_network_receive_bytes_total{service=\"web\"} 700"));
  CHECK(bare.find("keepwell_service_memory_bytes{") == std::string::npos);
  input.usage = [](const ContainerStatus&) { return nullptr; };
  CHECK(render_metrics(input, MetricsFormat::text).find("service_cpu_seconds") ==
        std::string::npos);
  scrape.containers[0].state = ServiceState::exited;
  input.usage = [&](const ContainerStatus&) { return &usage; };
  CHECK(render_metrics(input, MetricsFormat::text).find("service_processes{") == std::string::npos);
}
