#include "runtime/pressure.h"

#include <algorithm>
#include <charconv>

#include "runtime/cgroup_file.h"

namespace keepwell {
namespace {

constexpr const char* kResources[] = {"cpu", "memory", "io"};

std::string host_file(const char* resource) { return std::string("/proc/pressure/") + resource; }

std::optional<Pressure> read_line(const std::string& path, std::string_view kind) {
  const Result<std::string> text = read_small_file(path);
  return text ? parse_pressure_line(*text, kind) : std::nullopt;
}

}  // namespace

std::optional<Pressure> parse_pressure_line(std::string_view text, std::string_view kind) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const std::size_t average = line.find("avg10=");
    const std::size_t total = line.find("total=");
    if (!line.starts_with(kind) || average == std::string_view::npos ||
        total == std::string_view::npos) {
      continue;
    }
    Pressure pressure;
    const char* stop = line.data() + line.size();
    std::from_chars(line.data() + average + 6, stop, pressure.avg10);
    std::int64_t micros = 0;
    std::from_chars(line.data() + total + 6, stop, micros);
    pressure.total = std::chrono::microseconds(micros);
    return pressure;
  }
  return std::nullopt;
}

std::vector<HostPressure> read_host_pressure() {
  std::vector<HostPressure> all;
  for (const char* resource : kResources) {
    const Result<std::string> text = read_small_file(host_file(resource));
    const auto some = text ? parse_pressure_line(*text, "some") : std::nullopt;
    if (!some) continue;
    HostPressure pressure{.resource = resource, .some = some->avg10 / 100, .full = {}};
    if (const auto full = parse_pressure_line(*text, "full")) pressure.full = full->avg10 / 100;
    all.push_back(std::move(pressure));
  }
  return all;
}

PressureMark PressureMark::take(const std::string& cgroup, Instant now) {
  PressureMark mark;
  mark.at_ = now;
  for (const char* resource : kResources) {
    if (const auto some = read_line(host_file(resource), "some")) {
      mark.totals_.push_back({resource, true, some->total});
    }
    if (cgroup.empty()) continue;
    if (const auto some = read_line(cgroup + "/" + resource + ".pressure", "some")) {
      mark.totals_.push_back({resource, false, some->total});
    }
  }
  return mark;
}

std::vector<PressureReading> PressureMark::until(const PressureMark& later) const {
  std::vector<PressureReading> readings;
  const auto span = static_cast<double>((later.at_ - at_).count());
  if (span <= 0) return readings;
  for (const Total& from : totals_) {
    const auto to =
        std::find_if(later.totals_.begin(), later.totals_.end(), [&](const Total& each) {
          return each.resource == from.resource && each.of_host == from.of_host;
        });
    if (to == later.totals_.end()) continue;
    const double share = static_cast<double>((to->some - from.some).count()) / span;
    readings.push_back({from.resource, from.of_host, std::clamp(share, 0.0, 1.0)});
  }
  return readings;
}

std::string pressure_cgroup(const CgroupRoot& root, std::string_view id) {
  if (root.layout.unified_mount.empty()) return {};
  return root.layout.unified_mount + root.path + "/" + std::string(id);
}

}  // namespace keepwell
