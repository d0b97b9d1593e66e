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
    {"networks", ignore},
    {"models", nullptr, kInService},
};

// Container names must differ, those that are made from project, service and number included.
void check_container_names(LoadContext& context, const std::vector<ServiceDraft>& drafts) {
  std::unordered_map<std::string, const ServiceDraft*> taken;
  for (const ServiceDraft& draft : drafts) {
    if (draft.spec.container_name.empty()) continue;
    auto [other, fresh] = taken.try_emplace(draft.spec.container_name, &draft);
    if (fresh) continue;
    context.report.error(draft.place_of("container_name"),
                         "container_name " + in_quotes(draft.spec.container_name) +
                             " is taken by service " + other->second->spec.name +
                             "; choose another");
  }
}

void warn_about_retries(LoadContext& context, const ServiceDraft& draft) {
  if (draft.image_use) return;  // the image may say it
  std::string text = retries_warning(draft.spec);
  if (text.empty()) return;
  context.report.warning(
      draft.healthcheck ? draft.healthcheck->place : draft.place_of("x-keepwell"), text);
}

Diagnostic place_for(const LoadContext& context, const Place& place) {
  return {true, context.report.file_name(place.file), place.line, place.column, {}};
}

// As Compose names the image of a service that has no name for one: PROJECT-SERVICE, made fit.
std::string image_name_for(const std::string& project, const std::string& service) {
  constexpr std::size_t kLongest = 200;
  std::string name;
  for (char c : project + "-" + service) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool fits = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (fits) {
      name += c;
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
    if (name.size() == kLongest) break;
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name.empty() ? "image" : name;
}

// What is left to do for a service that runs an image.
void add_image_use(const LoadContext& context, ServiceDraft& draft, ProjectSpec& project,
                   std::vector<ImageUse>& images) {
  ImageUse use = std::move(*draft.image_use);
  use.service = project.services.size();
  use.place = place_for(context, draft.place_of(draft.has("image") ? "image" : "x-keepwell"));
  for (const ServiceDraft::Waiter& waiter : draft.waiters) {
    use.waiters.push_back({waiter.service, place_for(context, waiter.place)});
  }
  if (draft.spec.image.empty()) draft.spec.image = image_name_for(project.name, draft.spec.name);
  images.push_back(std::move(use));
}

}  // namespace

bool is_enabled(const ServiceSpec& spec, const std::vector<std::string>& profiles) {
  if (spec.profiles.empty()) return true;
  return std::any_of(profiles.begin(), profiles.end(), [&](const std::string& p) {
    return p == "*" ||
           std::find(spec.profiles.begin(), spec.profiles.end(), p) != spec.profiles.end();
  });
}

void read_project(LoadContext& context, const Node& root, const std::vector<std::string>& profiles,
                  ProjectSpec& project, std::vector<ImageUse>& images) {
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
  read_network_definitions(context, root);
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
  check_networks(context, drafts, profiles);
  check_dependencies(context, drafts, profiles);
  check_container_names(context, drafts);
  for (ServiceDraft& draft : drafts) {
    if (!is_enabled(draft.spec, profiles)) continue;
    warn_about_retries(context, draft);
    if (draft.image_use) add_image_use(context, draft, project, images);
    project.services.push_back(std::move(draft.spec));
  }
}

}  // namespace keepwell
