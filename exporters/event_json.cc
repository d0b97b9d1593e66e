#include "exporters/event_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "exporters/compose_labels.h"
#include "exporters/health_json.h"
#include "exporters/inspect_json.h"
#include "exporters/time_text.h"
#include "exporters/utf8.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;
using Values = std::vector<std::string>;

const std::string kNone;

std::string image_of(const Event& event) {
  return event.spec ? image_text(*event.spec) : std::string();
}

bool has(const Values& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// Docker compares exactly, unless one of the words is the first half of a two-part action; then
// every word may be a prefix.
bool action_matches(const Values& wanted, const std::string& action) {
  if (wanted.empty()) return true;
  const bool prefixes =
      has(wanted, "health_status") || has(wanted, "exec_create") || has(wanted, "exec_start");
  return std::any_of(wanted.begin(), wanted.end(), [&](const std::string& one) {
    return one == action || (prefixes && action.starts_with(one));
  });
}

bool container_matches(const Values& wanted, const Event& event) {
  if (wanted.empty()) return true;
  return std::any_of(wanted.begin(), wanted.end(), [&](const std::string& given) {
    const std::string_view one = given.starts_with('/') ? std::string_view(given).substr(1) : given;
    return event.id.starts_with(one) || event.name.starts_with(one);
  });
}

std::string without_tag(const std::string& image) {
  const std::size_t slash = image.rfind('/');
  const std::size_t colon = image.find(':', slash == std::string::npos ? 0 : slash);
  return image.substr(0, std::min(colon, image.find('@')));
}

bool image_matches(const Values& wanted, const Event& event) {
  if (wanted.empty()) return true;
  const std::string image = image_of(event);
  return has(wanted, image) || has(wanted, without_tag(image));
}

std::string text_line(WallTime at, const std::string& type, const std::string& action,
                      const std::string& id, const std::map<std::string, std::string>& attributes,
                      int utc_offset_seconds) {
  std::string line = rfc3339_nano_fixed(at, utc_offset_seconds);
  line += " " + terminal_text(type) + " " + terminal_text(action) + " " + terminal_text(id);
  if (attributes.empty()) return line;
  line += " (";
  const char* between = "";
  for (const auto& [key, value] : attributes) {
    line += between + terminal_text(key) + "=" + terminal_text(value);
    between = ", ";
  }
  return line + ")";
}

// The string at KEY of OBJECT, or none.
std::string string_at(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

std::map<std::string, std::string> event_attributes(const Event& event) {
  std::map<std::string, std::string> all;
  if (event.spec) all = event.spec->labels;
  if (!event.project.empty() && event.spec)
    set_compose_labels(all, event.project, *event.spec, event.replica);
  all["image"] = image_of(event);
  all["name"] = event.name;
  if (!event.incident.empty()) all["incident"] = event.incident;
  for (const auto& [key, value] : event.attributes) all[key] = value;
  return all;
}

std::string event_json(const Event& event) {
  return json_text(
      ordered_json{{"status", event.action},
                   {"id", event.id},
                   {"from", image_of(event)},
                   {"Type", "container"},
                   {"Action", event.action},
                   {"Actor", {{"ID", event.id}, {"Attributes", event_attributes(event)}}},
                   {"scope", "local"},
                   {"time", unix_seconds(event.at)},
                   {"timeNano", unix_nanos(event.at)}});
}

Result<std::string> event_text_of_json(std::string_view line, int utc_offset_seconds) {
  const nlohmann::json tree = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  const auto nano = tree.is_object() ? tree.find("timeNano") : tree.end();
  if (!tree.is_object() || nano == tree.end() || !nano->is_number_integer()) {
    return fail(Errc::invalid, "cannot read event \"" + terminal_text(line.substr(0, 64)) +
                                   "\": not an event object");
  }
  const nlohmann::json actor = tree.value("Actor", nlohmann::json::object());
  std::map<std::string, std::string> attributes;
  if (actor.is_object() && actor.contains("Attributes")) {
    for (const auto& [key, value] : actor["Attributes"].items()) {
      if (value.is_string()) attributes[key] = value.get<std::string>();
    }
  }
  return text_line(WallTime{Duration{nano->get<std::int64_t>()}}, string_at(tree, "Type"),
                   string_at(tree, "Action"), string_at(actor, "ID"), attributes,
                   utc_offset_seconds);
}

bool matches(const Filters& filters, const Event& event) {
  // Probes are told of where they are asked for, and then alone.
  const Values& exec_types = filters.of("execType");
  if (event.probe != !exec_types.empty()) return false;
  if (event.probe && !has(exec_types, "healthcheck")) return false;
  const Values& types = filters.of("type");
  if (!types.empty() && !has(types, "container")) return false;
  if (!action_matches(filters.of("event"), event.action)) return false;
  if (!container_matches(filters.of("container"), event)) return false;
  if (!image_matches(filters.of("image"), event)) return false;
  const Values& labels = filters.of("label");
  return labels.empty() || labels_match(event_attributes(event), labels);
}

}  // namespace keepwell
