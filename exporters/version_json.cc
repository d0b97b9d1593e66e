#include "exporters/version_json.h"

#include <nlohmann/json.hpp>

#include "exporters/health_json.h"
#include "exporters/time_text.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

// keepwell is not written in Go; clients want the key, and take any text.
constexpr const char* kGoVersion = "none (C++20)";

ordered_json components(const VersionFacts& facts) {
  ordered_json list = ordered_json::array();
  list.push_back({{"Name", "Engine"},
                  {"Version", facts.version},
                  {"Details",
                   {{"ApiVersion", kApiVersion},
                    {"Arch", facts.arch},
                    {"BuildTime", facts.build_time},
                    {"Experimental", "false"},
                    {"GitCommit", facts.commit},
                    {"GoVersion", kGoVersion},
                    {"KernelVersion", facts.kernel},
                    {"MinAPIVersion", kApiVersionMin},
                    {"Os", "linux"}}}});
  if (!facts.libuv.empty()) {
    list.push_back({{"Name", "libuv"}, {"Version", facts.libuv}, {"Details", {{"GitCommit", ""}}}});
  }
  for (const auto& [name, version] : facts.components) {
    list.push_back({{"Name", name}, {"Version", version}, {"Details", {{"GitCommit", ""}}}});
  }
  return list;
}

ordered_json runtimes_object(const HostFacts& facts) {
  ordered_json runtimes = ordered_json::object();
  for (const auto& [name, path] : facts.runtimes) runtimes[name] = {{"path", path}};
  return runtimes;
}

ordered_json commit(const HostFacts& facts, const char* component) {
  const auto found = facts.version.components.find(component);
  return {{"ID", found == facts.version.components.end() ? "" : found->second}};
}

void add_abilities(ordered_json& info) {
  for (const char* key : {"MemoryLimit", "SwapLimit", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares",
                          "CPUSet", "PidsLimit", "IPv4Forwarding"}) {
    info[key] = true;
  }
  info["OomKillDisable"] = false;
  info["Debug"] = false;
}

}  // namespace

std::string version_json(const VersionFacts& facts) {
  return json_text(ordered_json{{"Platform", {{"Name", "keepwell"}}},
                                {"Components", components(facts)},
                                {"Version", facts.version},
                                {"ApiVersion", kApiVersion},
                                {"MinAPIVersion", kApiVersionMin},
                                {"GitCommit", facts.commit},
                                {"GoVersion", kGoVersion},
                                {"Os", "linux"},
                                {"Arch", facts.arch},
                                {"KernelVersion", facts.kernel},
                                {"Experimental", false},
                                {"BuildTime", facts.build_time}});
}

std::string info_json(const HostFacts& facts) {
  ordered_json info = {{"ID", facts.host_id},
                       {"Containers", facts.containers},
                       {"ContainersRunning", facts.running},
                       {"ContainersPaused", facts.paused},
                       {"ContainersStopped", facts.stopped},
                       {"Images", facts.images},
                       {"Driver", "overlay2"},
                       {"DriverStatus", nullptr},
                       {"Plugins",
                        {{"Volume", ordered_json::array()},
                         {"Network", ordered_json::array()},
                         {"Authorization", nullptr},
                         {"Log", {"json-file", "local"}}}}};
  add_abilities(info);
  info["NFd"] = facts.open_fds;
  info["NGoroutines"] = 0;
  info["SystemTime"] = rfc3339_nano(facts.now);
  info["LoggingDriver"] = "json-file";
  info["CgroupDriver"] = facts.cgroup_driver;
  info["CgroupVersion"] = std::to_string(facts.cgroup_version);
  info["NEventsListener"] = facts.event_listeners;
  info["KernelVersion"] = facts.version.kernel;
  info["OperatingSystem"] = facts.operating_system;
  info["OSVersion"] = "";
  info["OSType"] = "linux";
  info["Architecture"] = facts.architecture;
  info["IndexServerAddress"] = "";
  info["RegistryConfig"] = nullptr;
  info["NCPU"] = facts.cpus;
  info["MemTotal"] = facts.memory_bytes;
  info["GenericResources"] = nullptr;
  info["DockerRootDir"] = facts.data_dir;
  info["HttpProxy"] = "";
  info["HttpsProxy"] = "";
  info["NoProxy"] = "";
  info["Name"] = facts.hostname;
  info["Labels"] = ordered_json::array();
  info["ExperimentalBuild"] = false;
  info["ServerVersion"] = facts.version.version;
  info["Runtimes"] = runtimes_object(facts);
  info["DefaultRuntime"] = facts.default_runtime;
  info["Swarm"] = {{"NodeID", ""},
                   {"NodeAddr", ""},
                   {"LocalNodeState", "inactive"},
                   {"ControlAvailable", false},
                   {"Error", ""},
                   {"RemoteManagers", nullptr}};
  info["LiveRestoreEnabled"] = true;  // containers outlive the agent
  info["Isolation"] = "";
  info["InitBinary"] = "";
  info["ContainerdCommit"] = {{"ID", ""}};
  info["RuncCommit"] = commit(facts, "runc");
  info["InitCommit"] = {{"ID", ""}};
  info["SecurityOptions"] = facts.security_options;
  info["Warnings"] = facts.warnings.empty() ? ordered_json(nullptr) : ordered_json(facts.warnings);
  return json_text(info);
}

}  // namespace keepwell
