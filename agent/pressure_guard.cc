#include "agent/pressure_guard.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace keepwell {
namespace {

constexpr std::string_view kOfCgroup = "cgroup.";

}  // namespace

double pressure_level(const PressureGuardSpec& spec, const std::string& resource) {
  if (resource == "cpu") return spec.cpu;
  if (resource == "memory") return spec.memory;
  if (resource == "io") return spec.io;
  return 2;
}

const PressureReading* over_level(const PressureGuardSpec& spec,
                                  const std::vector<PressureReading>& readings) {
  if (!spec.on) return nullptr;
  const PressureReading* worst = nullptr;
  double most = 0;
  for (const PressureReading& reading : readings) {
    const double over = reading.share - pressure_level(spec, reading.resource);
    if (over <= most) continue;
    most = over;
    worst = &reading;
  }
  return worst;
}

std::string pressure_text(const std::vector<PressureReading>& readings) {
  std::string text;
  for (const PressureReading& reading : readings) {
    char share[32];
    std::snprintf(share, sizeof share, "=%.2f", reading.share);
    if (!text.empty()) text += ',';
    if (!reading.of_host) text += kOfCgroup;
    text += reading.resource + share;
  }
  return text;
}

std::vector<PressureReading> parse_pressure(const std::string& text) {
  std::vector<PressureReading> readings;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t end = rest.find(',');
    std::string_view one = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    PressureReading reading;
    if (one.starts_with(kOfCgroup)) {
      reading.of_host = false;
      one.remove_prefix(kOfCgroup.size());
    }
    const std::size_t equals = one.find('=');
    if (equals == std::string_view::npos) continue;
    reading.resource = one.substr(0, equals);
    reading.share = std::strtod(std::string(one.substr(equals + 1)).c_str(), nullptr);
    readings.push_back(std::move(reading));
  }
  return readings;
}

}  // namespace keepwell
