// The part of cgroup.h that measures. v2 files where their controller is there, else the v1 ones.
#include <charconv>

#include "runtime/cgroup.h"
#include "runtime/cgroup_file.h"
#include "runtime/pressure.h"

namespace keepwell {
namespace {

constexpr std::uint64_t kV1Unlimited = std::uint64_t{1} << 62;  // v1 says "no limit" by a huge one
constexpr std::int64_t kTicksPerSecond = 100;                   // USER_HZ, the same on all we know

struct Places {
  std::string unified, memory, pids, cpuacct, cpu, blkio;  // empty: not there
  std::string payload_memory;
};

Places find_places(const CgroupRoot& root, std::string_view id) {
  std::string path = root.path + "/" + std::string(id);
  auto v1 = [&](const char* controller) {
    const CgroupV1Mount* mount = root.layout.find_v1(controller);
    return mount == nullptr ? std::string() : mount->mount + path;
  };
  Places places;
  if (!root.layout.unified_mount.empty()) places.unified = root.layout.unified_mount + path;
  places.memory = v1("memory");
  places.pids = v1("pids");
  places.cpuacct = v1("cpuacct");
  places.cpu = v1("cpu");
  places.blkio = v1("blkio");
  if (!places.memory.empty()) places.payload_memory = places.memory + "/payload";
  return places;
}

std::string text_of(const std::string& path) { return read_small_file(path).value_or(""); }

std::uint64_t number_of(const std::string& path) { return read_number(path).value_or(0); }

Duration microseconds(std::string_view text, std::string_view key) {
  return std::chrono::microseconds(keyed_value(text, key).value_or(0));
}

void read_cpu(const Places& places, CgroupStats& stats) {
  if (!places.unified.empty()) {  // there even without the cpu controller
    std::string text = text_of(places.unified + "/cpu.stat");
    stats.cpu = microseconds(text, "usage_usec");
    stats.cpu_user = microseconds(text, "user_usec");
    stats.cpu_system = microseconds(text, "system_usec");
    stats.cpu_throttled = microseconds(text, "throttled_usec");
  } else if (!places.cpuacct.empty()) {
    stats.cpu = Duration(number_of(places.cpuacct + "/cpuacct.usage"));
    std::string text = text_of(places.cpuacct + "/cpuacct.stat");
    auto ticks = [&](const char* key) {
      auto count = static_cast<std::int64_t>(keyed_value(text, key).value_or(0));
      return std::chrono::nanoseconds(count * (1'000'000'000 / kTicksPerSecond));
    };
    stats.cpu_user = ticks("user");
    stats.cpu_system = ticks("system");
  }
  if (!places.cpu.empty()) {
    std::string text = text_of(places.cpu + "/payload/cpu.stat");
    stats.cpu_throttled = Duration(keyed_value(text, "throttled_time").value_or(0));
  }
}

void read_memory(const Places& places, CgroupStats& stats) {
  if (!places.memory.empty()) {
    stats.memory_bytes = number_of(places.memory + "/memory.usage_in_bytes");
    std::string text = text_of(places.memory + "/memory.stat");
    stats.memory_inactive_file_bytes = keyed_value(text, "total_inactive_file").value_or(0);
    stats.memory_limit_bytes = read_number(places.memory + "/memory.limit_in_bytes");
    if (stats.memory_limit_bytes.value_or(0) >= kV1Unlimited) stats.memory_limit_bytes.reset();
    return;
  }
  if (places.unified.empty()) return;
  stats.memory_bytes = number_of(places.unified + "/memory.current");
  std::string text = text_of(places.unified + "/memory.stat");
  stats.memory_inactive_file_bytes = keyed_value(text, "inactive_file").value_or(0);
  stats.memory_limit_bytes = read_number(places.unified + "/memory.max");
}

void read_pids(const Places& places, CgroupStats& stats) {
  const std::string& directory = places.pids.empty() ? places.unified : places.pids;
  if (directory.empty()) return;
  stats.pids = number_of(directory + "/pids.current");
  stats.pids_limit = read_number(directory + "/pids.max");
}

std::uint64_t number_after(std::string_view line, std::string_view key) {
  std::size_t at = line.find(key);
  std::uint64_t value = 0;
  if (at == std::string_view::npos) return 0;
  std::string_view digits = line.substr(at + key.size());
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

void read_io(const Places& places, CgroupStats& stats) {
  std::string v2 = places.unified.empty() ? "" : text_of(places.unified + "/io.stat");
  std::string v1 = places.blkio.empty()
                       ? ""
                       : text_of(places.blkio + "/blkio.throttle.io_service_bytes_recursive");
  for (std::string_view line : split(v2, '\n')) {
    stats.io_read_bytes += number_after(line, " rbytes=");
    stats.io_write_bytes += number_after(line, " wbytes=");
  }
  for (std::string_view line : split(v1, '\n')) {
    stats.io_read_bytes += number_after(line, " Read ");
    stats.io_write_bytes += number_after(line, " Write ");
  }
}

std::optional<Pressure> read_pressure(const Places& places, const char* name) {
  if (places.unified.empty()) return std::nullopt;
  return parse_pressure_line(text_of(places.unified + "/" + name), "some");
}

// v1 counts a kill only where the victim was, v2 in every ancestor too.
std::uint64_t oom_kills(const Places& places) {
  if (places.memory.empty()) {
    if (places.unified.empty()) return 0;
    return keyed_value(text_of(places.unified + "/memory.events"), "oom_kill").value_or(0);
  }
  std::uint64_t kills = 0;
  for (const std::string& directory : {places.memory, places.payload_memory}) {
    kills += keyed_value(text_of(directory + "/memory.oom_control"), "oom_kill").value_or(0);
  }
  return kills;
}

}  // namespace

Result<CgroupStats> read_cgroup_stats(const CgroupRoot& root, std::string_view id) {
  Places places = find_places(root, id);
  const std::string& any = places.unified.empty() ? places.pids : places.unified;
  if (Result<std::string> there = read_small_file(any + "/cgroup.procs"); !there) {
    // An inner v2 cgroup of threads cannot be read so; ours never are.
    return fail(there.error().with("cannot measure container " + std::string(id)));
  }
  CgroupStats stats;
  read_cpu(places, stats);
  read_memory(places, stats);
  read_pids(places, stats);
  read_io(places, stats);
  stats.oom_kills = oom_kills(places);
  stats.cpu_pressure = read_pressure(places, "cpu.pressure");
  stats.memory_pressure = read_pressure(places, "memory.pressure");
  stats.io_pressure = read_pressure(places, "io.pressure");
  return stats;
}

std::uint64_t read_oom_kills(const CgroupRoot& root, std::string_view id) {
  return oom_kills(find_places(root, id));
}

}  // namespace keepwell
