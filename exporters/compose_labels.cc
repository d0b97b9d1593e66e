#include "exporters/compose_labels.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>

#include "config/spec_json.h"
#include "config/spec_names.h"

namespace keepwell {
namespace {

// "db:service_healthy:false,cache:service_started:true"; the last word is `restart`.
std::string dependencies_text(const ServiceSpec& service) {
  std::string text;
  for (const Dependency& dependency : service.depends_on) {
    if (!text.empty()) text += ',';
    text += dependency.service + ":" + std::string(name_of(dependency.condition)) +
            (dependency.restart ? ":true" : ":false");
  }
  return text;
}

}  // namespace

void set_compose_labels(Labels& labels, const std::string& project, const ServiceSpec& service,
                        int replica, const std::string& project_file,
                        const std::string& config_hash) {
  labels["com.docker.compose.project"] = project;
  labels["com.docker.compose.service"] = service.name;
  labels["com.docker.compose.container-number"] = std::to_string(replica);
  labels["com.docker.compose.oneoff"] = "False";
  if (!config_hash.empty()) {
    labels["com.docker.compose.config-hash"] = config_hash;
    labels["com.docker.compose.depends_on"] = dependencies_text(service);
    labels["com.docker.compose.version"] = KEEPWELL_VERSION;
  }
  if (project_file.empty()) return;
  const std::size_t slash = project_file.rfind('/');
  labels["com.docker.compose.project.config_files"] = project_file;
  labels["com.docker.compose.project.working_dir"] =
      slash == std::string::npos ? "" : project_file.substr(0, std::max<std::size_t>(slash, 1));
}

std::string config_hash(const ServiceSpec& service) {
  std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a
  for (const auto& [name, value] : service_fields(service))
    for (const char c : name + "=" + value + "\n")
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(hash));
  return text.data();
}

}  // namespace keepwell
