// Every key that the Compose schema (compose-spec 170098b) allows is known to the loader: read, or
// refused by name with what to use in its place, never taken for a slip of the pen.
#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;

namespace {

struct Level {
  const char* path;  // "service.volumes[].bind"; empty: the file
  std::vector<const char*> keys;
};

const Level kLevels[] = {
    {"",
     {"configs", "include", "models", "name", "networks", "secrets", "services", "version",
      "volumes"}},
    {"service",
     {"annotations",
      "attach",
      "blkio_config",
      "build",
      "cap_add",
      "cap_drop",
      "cgroup",
      "cgroup_parent",
      "command",
      "configs",
      "container_name",
      "cpu_count",
      "cpu_percent",
      "cpu_period",
      "cpu_quota",
      "cpu_rt_period",
      "cpu_rt_runtime",
      "cpu_shares",
      "cpus",
      "cpuset",
      "credential_spec",
      "depends_on",
      "deploy",
      "develop",
      "device_cgroup_rules",
      "devices",
      "dns",
      "dns_opt",
      "dns_search",
      "domainname",
      "entrypoint",
      "env_file",
      "environment",
      "expose",
      "extends",
      "external_links",
      "extra_hosts",
      "gpus",
      "group_add",
      "healthcheck",
      "hostname",
      "image",
      "init",
      "ipc",
      "isolation",
      "label_file",
      "labels",
      "links",
      "logging",
      "mac_address",
      "mem_limit",
      "mem_reservation",
      "mem_swappiness",
      "memswap_limit",
      "models",
      "network_mode",
      "networks",
      "oom_kill_disable",
      "oom_score_adj",
      "pid",
      "pids_limit",
      "platform",
      "ports",
      "post_start",
      "pre_stop",
      "privileged",
      "profiles",
      "provider",
      "pull_policy",
      "pull_refresh_after",
      "read_only",
      "restart",
      "runtime",
      "scale",
      "secrets",
      "security_opt",
      "shm_size",
      "stdin_open",
      "stop_grace_period",
      "stop_signal",
      "storage_opt",
      "sysctls",
      "tmpfs",
      "tty",
      "ulimits",
      "use_api_socket",
      "user",
      "userns_mode",
      "uts",
      "volumes",
      "volumes_from",
      "working_dir"}},
    {"service.deploy",
     {"endpoint_mode", "labels", "mode", "placement", "replicas", "resources", "restart_policy",
      "rollback_config", "update_config"}},
    {"service.deploy.resources", {"limits", "reservations"}},
    {"service.deploy.resources.limits", {"cpus", "memory", "pids"}},
    {"service.deploy.resources.reservations", {"cpus", "devices", "generic_resources", "memory"}},
    {"service.deploy.restart_policy", {"condition", "delay", "max_attempts", "window"}},
    {"service.healthcheck",
     {"disable", "interval", "retries", "start_interval", "start_period", "test", "timeout"}},
    {"service.logging", {"driver", "options"}},
    {"service.volumes[]",
     {"bind", "consistency", "image", "read_only", "source", "target", "tmpfs", "type", "volume"}},
    {"service.volumes[].bind", {"create_host_path", "propagation", "recursive", "selinux"}},
    {"service.volumes[].volume", {"labels", "nocopy", "subpath"}},
    {"service.volumes[].tmpfs", {"mode", "size"}},
    {"service.secrets[]", {"gid", "mode", "source", "target", "uid"}},
    {"service.configs[]", {"gid", "mode", "source", "target", "uid"}},
    {"service.devices[]", {"permissions", "source", "target"}},
    {"service.post_start[]", {"command", "environment", "privileged", "user", "working_dir"}},
    {"service.pre_stop[]", {"command", "environment", "privileged", "user", "working_dir"}},
    {"volumes.x", {"driver", "driver_opts", "external", "labels", "name"}},
    {"secrets.x",
     {"driver", "driver_opts", "environment", "external", "file", "labels", "name",
      "template_driver"}},
    {"configs.x",
     {"content", "environment", "external", "file", "labels", "name", "template_driver"}},
    {"include[]", {"env_file", "path", "project_directory"}},
    {"service.extends", {"file", "service"}},
    {"service.env_file[]", {"format", "path", "required"}},
};

// A file with VALUE at PATH. JSON is YAML.
std::string document(std::string path, std::string value) {
  while (!path.empty()) {
    std::size_t dot = path.rfind('.');
    std::string key = path.substr(dot == std::string::npos ? 0 : dot + 1);
    path.erase(dot == std::string::npos ? 0 : dot);
    if (key.size() > 2 && key.substr(key.size() - 2) == "[]") {
      key.erase(key.size() - 2);
      value = "[" + value + "]";
    }
    value = "{\"" + (key == "service" ? "services\": {\"web" : key) + "\": " + value + "}" +
            (key == "service" ? "}" : "");
  }
  return value;
}

}  // namespace

TEST_CASE("every key of the Compose schema is known") {
  for (const Level& level : kLevels) {
    for (const char* key : level.keys) {
      std::string text = document(level.path, std::string("{\"") + key + "\": null}");
      INFO(text);
      std::string said = listing(load_text(text));
      CHECK(said.find("unknown key") == std::string::npos);
      if (said.find("is not supported") != std::string::npos)
        CHECK_THAT(said, ContainsSubstring("; "));
    }
  }
}
