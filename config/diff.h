// What a reload has to do: the difference between the config that runs and the one that is wanted.
#pragma once

#include <string>
#include <vector>

#include "config/spec.h"

namespace keepwell {

enum class ServiceChange {
  added,     // start it
  removed,   // stop and remove it
  recreate,  // a launch setting differs: a new container
  update,    // only supervision settings differ: in place, nothing is restarted
};

struct ServiceDiff {
  std::string service;
  ServiceChange change = ServiceChange::update;
  std::vector<std::string> fields;  // of recreate and update: those that differ, as in spec.h

  bool operator==(const ServiceDiff&) const = default;
};

struct ProjectDiff {
  std::vector<ServiceDiff> services;  // in the wanted file's order, removed ones last; no unchanged
  std::vector<std::string> settings;  // of the project, that differ and apply in place
  std::vector<std::string> fixed;     // that differ and apply only after a new `keepwell run`

  bool empty() const { return services.empty() && settings.empty() && fixed.empty(); }
};

ProjectDiff diff_projects(const ProjectSpec& running, const ProjectSpec& wanted);

// "recreate", "update", ... for messages.
const char* to_string(ServiceChange change);

}  // namespace keepwell
