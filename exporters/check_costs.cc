#include "exporters/check_costs.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace keepwell {
namespace {

using nlohmann::ordered_json;

double milliseconds(Duration value) {
  return std::chrono::duration<double, std::milli>(value).count();
}

// "0.62 ms", "1.20 s"
std::string time_text(double ms) {
  char text[32];
  std::snprintf(text, sizeof text, ms < 1000 ? "%.2f ms" : "%.2f s", ms < 1000 ? ms : ms / 1000);
  return text;
}

std::string bytes_text(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", bytes / (1 << 20));
  return text;
}

}  // namespace

std::string check_costs_json(std::span<const ContainerStatus* const> containers) {
  ordered_json all = ordered_json::array();
  for (const ContainerStatus* container : containers) {
    for (const CheckStatus& check : container->checks) {
      std::uint64_t failures = 0;
      for (std::uint64_t count : check.failures_total) failures += count;
      const bool exec = check.spec->kind == ProbeKind::exec;
      ordered_json one = {{"Service", container->spec->name},
                          {"Name", container->name},
                          {"Check", check.spec->name},
                          {"Status", to_string(check.status)},
                          {"Probes", check.probes_total},
                          {"Failures", failures},
                          {"StartMilliseconds", milliseconds(check.last_start_latency)}};
      if (exec) {  // the others have no process of their own
        const double probes = static_cast<double>(std::max<std::uint64_t>(check.probes_total, 1));
        one["CpuMillisecondsPerProbe"] = milliseconds(check.cpu_total) / probes;
        one["CpuSeconds"] = milliseconds(check.cpu_total) / 1000;
        one["MaxRssBytes"] = check.max_rss_bytes;
        one["Orphans"] = check.orphans_total;
      }
      all.push_back(std::move(one));
    }
  }
  return all.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

Result<std::vector<std::vector<std::string>>> check_costs_table(std::string_view json) {
  const ordered_json all = ordered_json::parse(json, nullptr, false);
  if (!all.is_array()) return fail(Errc::invalid, "cannot read the list of checks");
  std::vector<std::vector<std::string>> rows{{"NAME", "CHECK", "STATUS", "PROBES", "FAILED",
                                              "CPU/PROBE", "CPU", "MAX RSS", "START", "ORPHANS"}};
  for (const ordered_json& one : all) {
    if (!one.is_object()) return fail(Errc::invalid, "cannot read the list of checks");
    const bool exec = one.contains("CpuSeconds");
    auto count = [&one](const char* key) { return std::to_string(one.value(key, 0ull)); };
    rows.push_back({one.value("Name", ""), one.value("Check", ""), one.value("Status", ""),
                    count("Probes"), count("Failures"),
                    exec ? time_text(one.value("CpuMillisecondsPerProbe", 0.0)) : "-",
                    exec ? time_text(one.value("CpuSeconds", 0.0) * 1000) : "-",
                    exec ? bytes_text(one.value("MaxRssBytes", 0.0)) : "-",
                    time_text(one.value("StartMilliseconds", 0.0)), exec ? count("Orphans") : "-"});
  }
  return rows;
}

}  // namespace keepwell
