// The top level of a Compose file.
#include <algorithm>
#include <unordered_map>

#include "config/draft.h"
#include "config/duration.h"

namespace keepwell {
namespace {

// The top-level keys that are not handled one by one below.
struct TopLevel {
  const Node* services = nullptr;
};

void read_services_key(const Field& f, TopLevel& top) { top.services = &f.value(); }
void ignore(const Field&, TopLevel&) {}  // read before or elsewhere

void read_version(const Field& f, TopLevel&) {
  f.context.report.warning(f.entry.key_place,
                           "version has no effect, Compose files have none any more; remove it");
}

constexpr std::string_view kInService = "this version has nothing in its place; remove it";

constexpr Key<TopLevel> kTopLevelKeys[] = {
    {"name", ignore},
    {"services", read_services_key},
    {"version", read_version},
    {"volumes", ignore},
    {"secrets", ignore},
    {"configs", ignore},
    {"x-keepwell", ignore},
    {"models", nullptr, kInService},
    {"networks", nullptr,
     "services have a private network with loopback, or network_mode: host or none"},
};

bool enabled(const ServiceSpec& spec, const std::vector<std::string>& profiles) {
  if (spec.profiles.empty()) return true;
  return std::any_of(profiles.begin(), profiles.end(), [&](const std::string& p) {
    return p == "*" ||
           std::find(spec.profiles.begin(), spec.profiles.end(), p) != spec.profiles.end();
  });
}

// Container names must differ, those that are made from project, service and number included.
void check_container_names(LoadContext& context, const std::vector<ServiceDraft>& drafts) {
  std::unordered_map<std::string, const ServiceDraft*> taken;
  for (const ServiceDraft& draft : drafts) {
    if (draft.spec.container_name.empty()) continue;
    auto [other, fresh] = taken.try_emplace(draft.spec.container_name, &draft);
    if (fresh) continue;
    context.report.error(draft.place_of("container_name"),
                         "container_name " + quoted(draft.spec.container_name) +
                             " is taken by service " + other->second->spec.name +
                             "; choose another");
  }
}

// DESIGN 5: with the founding default of one try, a single failed probe restarts a service. Who
// means that says so.
void warn_about_retries(LoadContext& context, const ServiceDraft& draft) {
  const ServiceSpec& spec = draft.spec;
  if (spec.checks.empty() || spec.retries_given || spec.restart.policy == RestartPolicy::no) return;
  bool acts = std::any_of(spec.checks.begin(), spec.checks.end(), [](const CheckSpec& c) {
    return c.on_unhealthy != OnUnhealthy::none && !c.observe;
  });
  if (!acts) return;
  context.report.warning(
      draft.healthcheck ? draft.healthcheck->place : draft.place_of("x-keepwell"),
      "retries of service " + spec.name +
          " is not set, so the first failed probe restarts it; write retries: 1 if that is meant, "
          "retries: 3 for what Docker does");
}

}  // namespace

void read_project(LoadContext& context, const Node& root, const std::vector<std::string>& profiles,
                  ProjectSpec& project) {
  if (root.is_null()) {
    context.report.error({root.place.file, 1, 1}, "the file is empty; write services:");
    return;
  }
  TopLevel top;
  read_map(context, root, "the file", kTopLevelKeys, top);
  if (!root.is_mapping()) return;
  // Before the services, which take defaults from it.
  if (const Node* own = root.find("x-keepwell")) read_project_keepwell(context, *own, project);
  if (const Node* node = root.find("volumes")) read_volume_definitions(context, *node);
  if (const Node* node = root.find("secrets")) read_file_definitions(context, *node, true);
  if (const Node* node = root.find("configs")) read_file_definitions(context, *node, false);
  if (top.services == nullptr) {
    context.report.error({root.place.file, 1, 1}, "the file has no services; write services:");
    return;
  }
  if (!expect_map(context, *top.services, "services")) return;
  std::vector<ServiceDraft> drafts;
  drafts.reserve(top.services->entries.size());
  for (const Entry& entry : top.services->entries) {
    drafts.push_back(read_service(context, entry));
  }
  check_dependencies(context, drafts, profiles);
  check_container_names(context, drafts);
  for (ServiceDraft& draft : drafts) {
    if (!enabled(draft.spec, profiles)) continue;
    warn_about_retries(context, draft);
    project.services.push_back(std::move(draft.spec));
  }
}

}  // namespace keepwell
