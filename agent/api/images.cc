// GET /images/json and /images/NAME/json: the images of the data directory, in Docker's words.
// Changing them is the command line's (keepwell image).
#include <array>
#include <nlohmann/json.hpp>

#include "agent/api/router.h"
#include "config/image_reference.h"
#include "exporters/filters.h"
#include "exporters/health_json.h"
#include "exporters/time_text.h"
#include "runtime/image/image_store.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

// "redis:7" and "redis@sha256:..." of each name.
void add_names(const StoredImage& image, ordered_json& tags, ordered_json& digests) {
  tags = digests = ordered_json::array();
  for (const ImageName& name : image.names) {
    Result<ImageReference> reference = parse_image_reference(name.name);
    if (!reference) continue;
    const std::string repository = reference->familiar_repository();
    if (!reference->tag.empty()) tags.push_back(repository + ":" + reference->tag);
    if (!name.digest.empty()) digests.push_back(repository + "@" + name.digest);
  }
}

WallTime created_at(const StoredImage& image) {
  Result<WallTime> said = parse_rfc3339(image.config.created);
  return said ? *said : image.loaded;
}

ordered_json list_entry(const StoredImage& image) {
  ordered_json tags, digests;
  add_names(image, tags, digests);
  return {{"Id", image.id},
          {"ParentId", ""},
          {"RepoTags", tags},
          {"RepoDigests", digests},
          {"Created", unix_seconds(created_at(image))},
          {"Size", image.bytes},
          {"SharedSize", -1},
          {"VirtualSize", image.bytes},
          {"Labels", image.config.labels},
          {"Containers", -1}};
}

// The image's own config goes through as it came.
ordered_json inspect_entry(const StoredImage& image) {
  ordered_json tags, digests;
  add_names(image, tags, digests);
  const ordered_json own =
      ordered_json::parse(image.config_text, nullptr, /*allow_exceptions=*/false);
  const ordered_json config =
      own.is_object() ? own.value("config", ordered_json()) : ordered_json();
  ordered_json layers = nullptr;
  if (own.is_object() && own.contains("rootfs") && own["rootfs"].is_object()) {
    layers = own["rootfs"].value("diff_ids", ordered_json());
  }
  return {{"Id", image.id},
          {"RepoTags", tags},
          {"RepoDigests", digests},
          {"Parent", ""},
          {"Comment", ""},
          {"Created", rfc3339_nano(created_at(image))},
          {"DockerVersion", ""},
          {"Author", ""},
          {"Config", config},
          {"Architecture", image.config.architecture},
          {"Variant", image.config.variant},
          {"Os", image.config.os},
          {"Size", image.bytes},
          {"VirtualSize", image.bytes},
          {"GraphDriver", {{"Data", {{"UpperDir", image.rootfs}}}, {"Name", "overlay2"}}},
          {"RootFS", {{"Type", "layers"}, {"Layers", layers}}},
          {"Metadata", {{"LastTagTime", rfc3339_nano(image.loaded)}}}};
}

ImageStore store_of(const ApiCall& call) {
  const std::shared_ptr<const ProjectSpec> project = call.api->project();
  return ImageStore(project ? project->data_dir : ProjectSpec().data_dir);
}

bool wanted(const StoredImage& image, const Filters& filters) {
  if (!labels_match(image.config.labels, filters.of("label"))) return false;
  const std::vector<std::string>& references = filters.of("reference");
  if (references.empty()) return true;
  for (const std::string& word : references) {
    Result<ImageReference> reference = parse_image_reference(word);
    if (!reference) continue;
    const bool any_tag = word.find(':', word.rfind('/') + 1) == std::string::npos;
    for (const ImageName& name : image.names) {
      if (name.name == reference->full()) return true;
      if (any_tag && name.name.starts_with(reference->repository() + ":")) return true;
    }
  }
  return false;
}

void get_images(const ApiCall& call) {
  Result<Filters> filters = parse_filters(call.query.text("filters"));
  if (!filters) return fail_call(call, filters.error());
  ordered_json list = ordered_json::array();
  for (const StoredImage& image : store_of(call).list()) {
    if (wanted(image, *filters)) list.push_back(list_entry(image));
  }
  respond_json(call, json_text(list));
}

// A name may have slashes: /images/quay.io/me/app:1/json.
void get_image(const ApiCall& call) {
  std::string name = call.params.front();
  constexpr std::string_view kEnd = "/json";
  if (!name.ends_with(kEnd)) {
    call.exchange->fail(404, "No such image: " + name);
    return;
  }
  name.erase(name.size() - kEnd.size());
  Result<StoredImage> image = store_of(call).find(name);
  if (!image) return fail_call(call, image.error());
  respond_json(call, json_text(inspect_entry(*image)));
}

constexpr std::array kRoutes{
    Route{"GET", "/images/json", get_images},
    Route{"GET", "/images/{name*}", get_image},
};

}  // namespace

std::span<const Route> image_routes() { return kRoutes; }

}  // namespace keepwell
