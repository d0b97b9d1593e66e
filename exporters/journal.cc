#include "exporters/journal.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "exporters/health_json.h"
#include "exporters/inspect_json.h"
#include "exporters/time_text.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kMarker = "{\"v\":";
constexpr std::string_view kTimeKey = "\"timeNano\":";
constexpr std::string_view kKinds[] = {"event", "result", "decision", "fact"};

std::string cut(const std::string& text, std::size_t bytes_max) {
  return text.size() <= bytes_max ? text : text.substr(0, bytes_max) + "...";
}

// The record with no string longer than BYTES_MAX, and at most ENTRIES_MAX labels and attributes.
std::string record(const Event& event, std::size_t bytes_max, std::size_t entries_max) {
  ordered_json labels = ordered_json::object();
  if (event.spec) {
    for (const auto& [key, value] : event.spec->labels) {
      if (labels.size() == entries_max) break;
      labels[cut(key, bytes_max)] = cut(value, bytes_max);
    }
  }
  ordered_json attributes = ordered_json::object();
  for (const auto& [key, value] : event.attributes) {
    if (attributes.size() == entries_max) break;
    attributes[cut(key, bytes_max)] = cut(value, bytes_max);
  }
  ordered_json object = {{"v", kJournalVersion},
                         {"seq", event.sequence},
                         {"time", rfc3339_nano_fixed(event.at)},
                         {"timeNano", unix_nanos(event.at)},
                         {"action", cut(event.action, bytes_max)},
                         {"id", cut(event.id, bytes_max)},
                         {"name", cut(event.name, bytes_max)},
                         {"project", cut(event.project, bytes_max)},
                         {"service", cut(event.spec ? event.spec->name : "", bytes_max)},
                         {"replica", event.replica}};
  // The others are many, and say nothing of the service but its name.
  if (event.kind == EventKind::event) {
    object["image"] = cut(event.spec ? image_text(*event.spec) : "", bytes_max);
    object["labels"] = std::move(labels);
  } else {
    object["kind"] = kKinds[static_cast<std::size_t>(event.kind)];
  }
  if (!event.incident.empty()) object["incident"] = cut(event.incident, bytes_max);
  object["attributes"] = std::move(attributes);
  if (event.probe) object["probe"] = true;
  return json_text(object) + "\n";
}

template <class T>
bool read(const ordered_json& object, const char* key, T& into) {
  const auto found = object.find(key);
  if (found == object.end()) return false;
  if constexpr (std::is_same_v<T, std::string>) {
    if (!found->is_string()) return false;
  } else {
    if (!found->is_number_integer()) return false;
  }
  into = found->get<T>();
  return true;
}

// The strings of the object at KEY, in file order.
bool read_strings(const ordered_json& object, const char* key,
                  std::vector<std::pair<std::string, std::string>>& into) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object()) return false;
  for (const auto& [name, value] : found->items()) {
    if (!value.is_string()) return false;
    into.emplace_back(name, value.get<std::string>());
  }
  return true;
}

// The kind at "kind", `event` where there is none; false for a word that is none.
bool read_kind(const ordered_json& object, EventKind& kind) {
  if (!object.contains("kind")) return true;
  std::string word;
  const auto* end = std::end(kKinds);
  if (!read(object, "kind", word)) return false;
  const auto* found = std::find(std::begin(kKinds), end, word);
  if (found != end) kind = static_cast<EventKind>(found - std::begin(kKinds));
  return found != end;
}

// Where the last record of LINE starts.
std::size_t last_start(std::string_view line) {
  std::size_t at = line.rfind(kMarker);
  while (at != std::string_view::npos) {
    const std::size_t digit = at + kMarker.size();
    if (digit < line.size() && line[digit] >= '0' && line[digit] <= '9') return at;
    if (at == 0) break;
    at = line.rfind(kMarker, at - 1);
  }
  return std::string_view::npos;
}

tl::unexpected<Error> torn() {
  return fail(Errc::invalid, "cannot read journal record: it is torn or foreign");
}

Result<Event> event_of(const ordered_json& tree) {
  Event event;
  auto spec = std::make_shared<ServiceSpec>();
  std::int64_t nanos = 0;
  std::vector<std::pair<std::string, std::string>> labels;
  const bool whole = read(tree, "seq", event.sequence) && read(tree, "timeNano", nanos) &&
                     read(tree, "action", event.action) && read(tree, "id", event.id) &&
                     read(tree, "name", event.name) && read(tree, "project", event.project) &&
                     read(tree, "service", spec->name) && read(tree, "replica", event.replica) &&
                     read_kind(tree, event.kind) &&
                     read_strings(tree, "attributes", event.attributes);
  if (!whole) return torn();
  if (event.kind == EventKind::event &&
      !(read(tree, "image", spec->image) && read_strings(tree, "labels", labels))) {
    return torn();
  }
  (void)read(tree, "incident", event.incident);
  spec->labels.insert(labels.begin(), labels.end());
  event.at = WallTime{Duration{nanos}};
  event.spec = std::move(spec);
  const auto probe = tree.find("probe");
  event.probe = probe != tree.end() && probe->is_boolean() && probe->get<bool>();
  return event;
}

}  // namespace

std::string journal_line(const Event& event) {
  struct Limit {
    std::size_t bytes_max, entries_max;
  };
  // Each step bounds the record further; the last one bounds it for certain.
  constexpr std::array<Limit, 3> kLimits{{{kJournalLineMax, 1000}, {1024, 100}, {64, 8}}};
  std::string line;
  for (const Limit& limit : kLimits) {
    line = record(event, limit.bytes_max, limit.entries_max);
    if (line.size() <= kJournalLineMax) break;
  }
  return line;
}

Result<Event> parse_journal_line(std::string_view line) {
  const std::size_t start = last_start(line);
  if (start == std::string_view::npos || line.size() - start > kJournalLineMax) return torn();
  const ordered_json tree =
      ordered_json::parse(line.substr(start), nullptr, /*allow_exceptions=*/false);
  std::int64_t version = 0;
  if (!tree.is_object() || !read(tree, "v", version)) return torn();
  if (version > kJournalVersion) {
    return fail(Errc::unsupported, "cannot read journal record: it is of version " +
                                       std::to_string(version) + ", this keepwell knows " +
                                       std::to_string(kJournalVersion));
  }
  return event_of(tree);
}

std::optional<WallTime> journal_line_time(std::string_view line) {
  // All further in is text, in which quotes are escaped; see the head of journal.h.
  const std::size_t key = line.rfind(kTimeKey);
  if (key == std::string_view::npos) return std::nullopt;
  std::int64_t nanos = 0;
  const char* begin = line.data() + key + kTimeKey.size();
  if (std::from_chars(begin, line.data() + line.size(), nanos).ec != std::errc()) {
    return std::nullopt;
  }
  return WallTime{Duration{nanos}};
}

JournalScan scan_journal(std::string_view text) {
  JournalScan scan;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty()) continue;
    Result<Event> event = parse_journal_line(line);
    const bool clean = line.starts_with(kMarker) && last_start(line) == 0;
    if (event) {
      scan.events.push_back(std::move(*event));
      if (!clean) ++scan.torn;
    } else if (event.error().code == Errc::unsupported) {
      ++scan.newer;
    } else {
      ++scan.torn;
    }
  }
  return scan;
}

}  // namespace keepwell
