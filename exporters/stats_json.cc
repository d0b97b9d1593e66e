#include "exporters/stats_json.h"

#include <nlohmann/json.hpp>

#include "exporters/health_json.h"
#include "exporters/time_text.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

ordered_json cpu_object(const std::optional<ContainerStats>& sample) {
  const ContainerStats s = sample.value_or(ContainerStats{});
  ordered_json object = {{"cpu_usage",
                          {{"total_usage", s.cpu_ns},
                           {"usage_in_kernelmode", s.cpu_kernel_ns},
                           {"usage_in_usermode", s.cpu_user_ns}}}};
  if (sample) {
    object["system_cpu_usage"] = s.system_cpu_ns;
    object["online_cpus"] = s.online_cpus;
  }
  object["throttling_data"] = {{"periods", s.throttle_periods},
                               {"throttled_periods", s.throttled_periods},
                               {"throttled_time", s.throttled_ns}};
  return object;
}

ordered_json memory_object(const std::optional<ContainerStats>& sample) {
  if (!sample) return ordered_json::object();
  ordered_json detail = ordered_json::object();
  for (const auto& [key, value] : sample->memory_stats) detail[key] = value;
  return {{"usage", sample->memory_bytes},
          {"stats", std::move(detail)},
          {"limit", sample->memory_limit_bytes}};
}

ordered_json pids_object(const std::optional<ContainerStats>& sample) {
  ordered_json object = ordered_json::object();
  if (!sample) return object;
  object["current"] = sample->pids;
  if (sample->pids_limit != 0) object["limit"] = sample->pids_limit;
  return object;
}

ordered_json block_object(const std::optional<ContainerStats>& sample) {
  ordered_json bytes = nullptr;
  if (sample) {
    for (const BlockCounters& device : sample->block) {
      const auto entry = [&](const char* operation, std::uint64_t value) {
        bytes.push_back({{"major", device.major},
                         {"minor", device.minor},
                         {"op", operation},
                         {"value", value}});
      };
      entry("read", device.read_bytes);
      entry("write", device.write_bytes);
    }
  }
  return {{"io_service_bytes_recursive", std::move(bytes)},
          {"io_serviced_recursive", nullptr},
          {"io_queue_recursive", nullptr},
          {"io_service_time_recursive", nullptr},
          {"io_wait_time_recursive", nullptr},
          {"io_merged_recursive", nullptr},
          {"io_time_recursive", nullptr},
          {"sectors_recursive", nullptr}};
}

ordered_json networks_object(const ContainerStats& sample) {
  ordered_json object = ordered_json::object();
  for (const auto& [name, n] : sample.networks) {
    object[name] = {{"rx_bytes", n.rx_bytes},   {"rx_packets", n.rx_packets},
                    {"rx_errors", n.rx_errors}, {"rx_dropped", n.rx_dropped},
                    {"tx_bytes", n.tx_bytes},   {"tx_packets", n.tx_packets},
                    {"tx_errors", n.tx_errors}, {"tx_dropped", n.tx_dropped}};
  }
  return object;
}

// What Docker has no word for.
ordered_json keepwell_object(const ContainerStats& sample) {
  ordered_json pressure = ordered_json::object();
  for (const auto& [name, counters] : sample.pressure) {
    pressure[name] = {{"avg10", counters.avg10}, {"total", counters.total.count()}};
  }
  return {{"OomKills", sample.oom_kills}, {"Pressure", std::move(pressure)}};
}

std::string time_of(const std::optional<ContainerStats>& sample) {
  return sample ? rfc3339_nano(sample->at) : kZeroTimeText;
}

}  // namespace

std::string stats_json(const std::string& id, const std::string& name,
                       const std::optional<ContainerStats>& now,
                       const std::optional<ContainerStats>& previous) {
  ordered_json object = {{"name", "/" + name},
                         {"id", id},
                         {"read", time_of(now)},
                         {"preread", time_of(previous)},
                         {"pids_stats", pids_object(now)},
                         {"blkio_stats", block_object(now)},
                         {"num_procs", 0},
                         {"storage_stats", ordered_json::object()},
                         {"cpu_stats", cpu_object(now)},
                         {"precpu_stats", cpu_object(previous)},
                         {"memory_stats", memory_object(now)}};
  if (now && !now->networks.empty()) object["networks"] = networks_object(*now);
  if (now) object["Keepwell"] = keepwell_object(*now);
  return json_text(object);
}

}  // namespace keepwell
