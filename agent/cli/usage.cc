// keepwell top --usage: what each running container uses, measured over a second.
#include <poll.h>

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "agent/cli/client.h"
#include "agent/cli/client_commands.h"

namespace keepwell {

namespace {

using nlohmann::ordered_json;

constexpr int kPeriodMs = 1000;

std::string size_text(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  char text[40];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f%s" : "%.1f%s", value, kUnits[unit]);
  return text;
}

std::string percent_text(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.1f%%", value);
  return text;
}

// An object with nothing in it where the container does not run, or is gone.
Result<ordered_json> sample(HttpClient& client, const std::string& id) {
  Result<std::string> body =
      get_body(client, "/containers/" + id + "/stats?stream=false&one-shot=true");
  if (!body) {
    if (body.error().code == Errc::not_found) return ordered_json::object();
    return fail(body.error());
  }
  ordered_json stats = ordered_json::parse(*body, nullptr, false);
  bool good = stats.is_object() && stats.contains("Keepwell");
  return good ? stats : ordered_json::object();
}

double number(const ordered_json& stats, const char* pointer) {
  ordered_json::json_pointer at(pointer);
  return stats.contains(at) && stats.at(at).is_number() ? stats.at(at).get<double>() : 0;
}

// As the docker client computes it: 100 is one CPU.
double cpu_percent(const ordered_json& before, const ordered_json& now) {
  double used = number(now, "/cpu_stats/cpu_usage/total_usage") -
                number(before, "/cpu_stats/cpu_usage/total_usage");
  double system =
      number(now, "/cpu_stats/system_cpu_usage") - number(before, "/cpu_stats/system_cpu_usage");
  return system > 0 ? used / system * number(now, "/cpu_stats/online_cpus") * 100 : 0;
}

ordered_json usage_object(const std::string& name, const ordered_json& before,
                          const ordered_json& now) {
  auto whole = [&](const char* pointer) {
    return static_cast<std::uint64_t>(number(now, pointer));
  };
  return {{"Name", name},
          {"CPUPercent", cpu_percent(before, now)},
          {"MemoryBytes", whole("/memory_stats/usage")},
          {"MemoryLimitBytes", whole("/memory_stats/limit")},
          {"Processes", whole("/pids_stats/current")},
          {"OomKills", whole("/Keepwell/OomKills")},
          {"PressureCPU", number(now, "/Keepwell/Pressure/cpu/avg10")},
          {"PressureMemory", number(now, "/Keepwell/Pressure/memory/avg10")},
          {"PressureIO", number(now, "/Keepwell/Pressure/io/avg10")}};
}

std::vector<std::string> usage_row(const ordered_json& o) {
  return {o["Name"].get<std::string>(),
          percent_text(o["CPUPercent"].get<double>()),
          size_text(o["MemoryBytes"].get<std::uint64_t>()),
          size_text(o["MemoryLimitBytes"].get<std::uint64_t>()),
          std::to_string(o["Processes"].get<std::uint64_t>()),
          std::to_string(o["OomKills"].get<std::uint64_t>()),
          percent_text(o["PressureCPU"].get<double>()) + " / " +
              percent_text(o["PressureMemory"].get<double>()) + " / " +
              percent_text(o["PressureIO"].get<double>())};
}

}  // namespace

int usage_command(const TopCommand& command) {
  Result<HttpClient> client = connect_agent(command.place);
  if (!client) return failed(client.error());
  Result<std::vector<ListedContainer>> containers = list_containers(
      *client, command.name.empty() ? std::vector<std::string>{} : std::vector{command.name});
  if (!containers) return failed(containers.error());
  std::map<std::string, ordered_json> before;
  for (const ListedContainer& container : *containers) {
    Result<ordered_json> first = sample(*client, container.id);
    if (!first) return failed(first.error());
    if (!first->empty()) before[container.id] = std::move(*first);
  }
  if (!before.empty()) poll(nullptr, 0, kPeriodMs);
  std::vector<std::vector<std::string>> rows{
      {"NAME", "CPU", "MEMORY", "LIMIT", "PIDS", "OOM KILLS", "PRESSURE CPU / MEMORY / IO"}};
  for (const ListedContainer& container : *containers) {
    auto first = before.find(container.id);
    if (first == before.end()) continue;
    Result<ordered_json> now = sample(*client, container.id);
    if (!now) return failed(now.error());
    if (now->empty()) continue;  // it has ended meanwhile
    ordered_json usage = usage_object(container.name, first->second, *now);
    if (command.json) {
      std::puts(usage.dump().c_str());
    } else {
      rows.push_back(usage_row(usage));
    }
  }
  if (!command.json) print_columns(rows);
  return 0;
}

}  // namespace keepwell
