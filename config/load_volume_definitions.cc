// The file's own `volumes`: what a service's volumes name.
#include <algorithm>

#include "config/draft.h"

namespace keepwell {
namespace {

// What Docker takes as the name of a volume.
bool is_volume_name(std::string_view name) {
  if (name.size() < 2 || name.size() > 255) return false;
  auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return letter(name.front()) && std::all_of(name.begin(), name.end(), [&](char c) {
           return letter(c) || c == '_' || c == '.' || c == '-';
         });
}

void read_volume_name(const Field& f, VolumeDefinition& v) {
  std::string name;
  if (!read_text(f.context, "name of a volume", f.value(), name)) return;
  v.name = std::move(name);
  v.name_given = true;
}
void read_volume_driver(const Field& f, VolumeDefinition&) {
  std::string driver;
  if (!read_text(f.context, "driver of a volume", f.value(), driver)) return;
  if (!driver.empty() && driver != "local" && driver != "default") {
    f.context.report.unsupported(f.value().place, "volume driver " + in_quotes(driver) +
                                                      " is not supported; use local, with "
                                                      "driver_opts type, o and device");
  }
}
void read_external(const Field& f, VolumeDefinition& v) {
  if (f.value().is_mapping()) {  // the old form: {name: x}
    v.external = true;
    constexpr Key<VolumeDefinition> kKeys[] = {{"name", read_volume_name}};
    read_map(f.context, f.value(), "external", kKeys, v);
    return;
  }
  read_bool(f.context, "external", f.value(), v.external);
}

void read_driver_opts(const Field& f, VolumeDefinition& v) {
  if (!expect_map(f.context, f.value(), "driver_opts")) return;
  constexpr std::string_view kKnown[] = {"type", "o", "device"};
  for (const Entry& entry : f.value().entries) {
    std::string text;
    if (std::find(std::begin(kKnown), std::end(kKnown), entry.key) == std::end(kKnown)) {
      report_unknown_key(f.context, entry, "driver_opts", kKnown);
    } else if (read_text(f.context, "driver_opts." + entry.key, entry.value, text)) {
      v.driver_opts.emplace_back(entry.key, std::move(text));
    }
  }
}
void ignore_labels(const Field&, VolumeDefinition&) {}  // nobody asks for them

constexpr Key<VolumeDefinition> kDefinitionKeys[] = {
    {"name", read_volume_name},  {"driver", read_volume_driver}, {"driver_opts", read_driver_opts},
    {"external", read_external}, {"labels", ignore_labels},
};

}  // namespace

void read_volume_definitions(LoadContext& context, const Node& node) {
  if (node.is_null() || !expect_map(context, node, "volumes")) return;
  for (const Entry& entry : node.entries) {
    VolumeDefinition volume;
    if (!entry.value.is_null()) {
      read_map(context, entry.value, "volume " + entry.key, kDefinitionKeys, volume);
    }
    if (!volume.name_given) {
      volume.name = volume.external ? entry.key : context.project_name + "_" + entry.key;
    }
    if (!is_volume_name(volume.name)) {
      context.report.error(entry.key_place,
                           "volume name " + in_quotes(volume.name) +
                               " cannot be used; write two or more letters, digits, _ . or -, a "
                               "letter or digit first");
    }
    if (volume.external && !volume.driver_opts.empty()) {
      context.report.warning(entry.key_place, "driver_opts of volume " + entry.key +
                                                  " have no effect, since it is external; remove "
                                                  "them");
      volume.driver_opts.clear();
    }
    context.resources.volumes[entry.key] = std::move(volume);
  }
}

}  // namespace keepwell
