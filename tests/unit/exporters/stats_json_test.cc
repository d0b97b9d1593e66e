#include "exporters/stats_json.h"

#include <nlohmann/json.hpp>

#include "exporters/version_json.h"
#include "fixtures.h"

using namespace keepwell;
using namespace std::chrono_literals;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

ContainerStats sample(int seconds) {
  const auto n = static_cast<std::uint64_t>(seconds);
  ContainerStats s;
  s.at = kStart + std::chrono::seconds(seconds);
  s.cpu_ns = 500'000'000 * n;
  s.cpu_user_ns = 400'000'000 * n;
  s.cpu_kernel_ns = 100'000'000 * n;
  s.system_cpu_ns = 2'000'000'000 * n;
  s.online_cpus = 2;
  s.memory_bytes = 10 << 20;
  s.memory_limit_bytes = 64 << 20;
  s.memory_stats = {{"inactive_file", 1 << 20}, {"anon", 8 << 20}};
  s.pids = 3;
  s.pids_limit = 100;
  s.block.push_back({.major = 8, .minor = 0, .read_bytes = 4096, .write_bytes = 8192});
  s.networks["eth0"].rx_bytes = 1000 * n;
  s.networks["eth0"].tx_bytes = 500 * n;
  return s;
}

}  // namespace

TEST_CASE("stats of two samples come out right in the client's own arithmetic") {
  const std::string text = stats_json(web().id, "web", sample(2), sample(1));
  check_golden("stats.json", ordered_json::parse(text).dump(2) + "\n");
  const auto o = json::parse(text);
  const double cpu = o["cpu_stats"]["cpu_usage"]["total_usage"].get<double>() -
                     o["precpu_stats"]["cpu_usage"]["total_usage"].get<double>();
  const double system = o["cpu_stats"]["system_cpu_usage"].get<double>() -
                        o["precpu_stats"]["system_cpu_usage"].get<double>();
  CHECK(cpu / system * o["cpu_stats"]["online_cpus"].get<double>() * 100 == 50.0);
  CHECK(o["memory_stats"]["stats"]["inactive_file"] == 1 << 20);
}

TEST_CASE("the first of a stream has an empty precpu") {
  const auto o = json::parse(stats_json("id", "web", sample(1), std::nullopt));
  CHECK(o["preread"] == "0001-01-01T00:00:00Z");
  CHECK(o["precpu_stats"]["cpu_usage"]["total_usage"] == 0);
  CHECK_FALSE(o["precpu_stats"].contains("system_cpu_usage"));
}

TEST_CASE("stats of a container that does not run are zeros with a name") {
  const auto o = json::parse(stats_json("id", "web", std::nullopt, std::nullopt));
  CHECK(o["name"] == "/web");
  CHECK(o["id"] == "id");
  CHECK(o["read"] == "0001-01-01T00:00:00Z");
  CHECK(o["pids_stats"] == json::object());
  CHECK_FALSE(o.contains("networks"));
}

TEST_CASE("version and info have what clients read") {
  VersionFacts facts;
  facts.version = "0.1.0";
  facts.kernel = "6.1.0";
  facts.components = {{"runc", "1.1.5"}};
  const auto version = json::parse(version_json(facts));
  CHECK(version["ApiVersion"] == "1.50");
  CHECK(version["Components"][0]["Name"] == "Engine");
  CHECK(version["Components"][0]["Details"]["MinAPIVersion"] == "1.12");
  CHECK(version["Components"][1]["Name"] == "runc");

  HostFacts host;
  host.version = facts;
  host.containers = 4;
  host.running = 2;
  const auto info = json::parse(info_json(host));
  CHECK(info["Swarm"]["LocalNodeState"] == "inactive");
  CHECK(info["OSType"] == "linux");
  CHECK(info["ContainersRunning"] == 2);
  CHECK(info["Plugins"]["Log"] == json({"json-file", "local"}));
  CHECK(info["RuncCommit"]["ID"] == "1.1.5");
  CHECK(info["Warnings"].is_null());
}
