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
bool is_foreign_driver(std::string_view driver) {
  return !driver.empty() && driver != "local" && driver != "default";
}
void read_volume_driver(const Field& f, VolumeDefinition&) {
  std::string driver;
  if (!read_text(f.context, "driver of a volume", f.value(), driver)) return;
  if (is_foreign_driver(driver)) {
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
  if (v.foreign || !expect_map(f.context, f.value(), "driver_opts")) return;
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
void ignore_labels(const Field&, VolumeDefinition&) {}  // reported when all is read

constexpr Key<VolumeDefinition> kDefinitionKeys[] = {
    {"name", read_volume_name},  {"driver", read_volume_driver}, {"driver_opts", read_driver_opts},
    {"external", read_external}, {"labels", ignore_labels},
};

// What is external is somebody else's, so that nothing but its name can be said of it.
void check_definition(LoadContext& context, const Entry& volume, const VolumeDefinition& v) {
  for (const Entry& entry : volume.value.entries) {
    const bool own =
        entry.key == "name" || entry.key == "external" || entry.key.rfind("x-", 0) == 0;
    if (v.external && !own) {
      context.report.error(volume.key_place, "volume " + volume.key + " is external, so that " +
                                                 entry.key +
                                                 " cannot be said of it; remove one of "
                                                 "them");
    } else if (entry.key == "labels") {
      context.report.warning(entry.key_place,
                             "labels of volume " + volume.key + " have no effect; remove them");
    }
  }
}

}  // namespace

void read_volume_definitions(LoadContext& context, const Node& node) {
  if (node.is_null() || !expect_map(context, node, "volumes")) return;
  for (const Entry& entry : node.entries) {
    VolumeDefinition volume;
    const Node* driver = entry.value.find("driver");
    volume.foreign = driver != nullptr && is_foreign_driver(driver->text);
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
    check_definition(context, entry, volume);
    context.resources.volumes[entry.key] = std::move(volume);
  }
}

}  // namespace keepwell
