#include "agent/event_log.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "agent/event_bus.h"
#include "exporters/inspect_json.h"
#include "runtime/state_file.h"

namespace keepwell {

namespace {

constexpr std::size_t kEventLogBytesMax = 64u << 20;

std::string to_line(const Event& event) {
  nlohmann::json line{{"sequence", event.sequence},
                      {"ordinal", event.ordinal},
                      {"at", event.at.time_since_epoch().count()},
                      {"action", event.action},
                      {"id", event.id},
                      {"name", event.name},
                      {"project", event.project},
                      {"replica", event.replica},
                      {"attributes", event.attributes},
                      {"probe", event.probe}};
  if (!event.incident.empty()) line["incident"] = event.incident;
  if (event.spec != nullptr) {
    line["service"] = event.spec->name;
    line["image"] = image_text(*event.spec);  // as it was told
    line["labels"] = event.spec->labels;
  }
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// nlohmann throws for a field that is missing or of the wrong type; that ends here.
bool from_line(std::string_view text, Event& event) try {
  nlohmann::json line = nlohmann::json::parse(text);
  event.sequence = line.at("sequence").get<std::uint64_t>();
  event.ordinal = line.value("ordinal", std::uint64_t{0});
  event.at = WallTime(Duration(line.at("at").get<std::int64_t>()));
  event.action = line.at("action").get<std::string>();
  event.id = line.at("id").get<std::string>();
  event.name = line.at("name").get<std::string>();
  event.project = line.at("project").get<std::string>();
  event.replica = line.at("replica").get<int>();
  event.attributes = line.at("attributes").get<decltype(event.attributes)>();
  event.probe = line.at("probe").get<bool>();
  event.incident = line.value("incident", std::string());
  auto spec = std::make_shared<ServiceSpec>();
  spec->name = line.value("service", "");
  spec->image = line.value("image", "");
  spec->labels = line.value("labels", std::map<std::string, std::string>());
  event.spec = std::move(spec);
  return true;
} catch (const nlohmann::json::exception&) {
  return false;
}

}  // namespace

EventLog::EventLog(std::string dir) : path_(std::move(dir) + "/events.log") {}

Status EventLog::append(const Event& event) {
  const bool failing = !waiting_.empty();
  waiting_.push_back(to_line(event));
  if (waiting_.size() > kEventHistoryMax) waiting_.pop_front();
  Status written = write_waiting(failing);
  if (written) {
    waiting_.clear();
    return {};
  }
  ++write_failures_;
  return failing ? Status() : written;
}

Status EventLog::rewrite(const std::deque<Event>& events) {
  waiting_.clear();
  for (const Event& event : events) waiting_.push_back(to_line(event));
  lines_ = 0;
  Status written = waiting_.empty() ? Status() : write_waiting(false);
  if (written) waiting_.clear();
  return written;
}

Status EventLog::write_waiting(bool after_failure) {
  if (lines_ >= kEventHistoryMax) {
    if (Status moved = rename_file(path_, path_ + ".old"); !moved) return moved;
    lines_ = 0;
  }
  // A part of what was refused may be there: its line ends here, and is left out when read.
  std::string text = after_failure ? "\n" : "";
  for (const std::string& line : waiting_) text += line;
  Status appended = append_to_file(path_, text);
  if (appended) lines_ += waiting_.size();
  return appended;
}

std::deque<Event> EventLog::load() {
  std::deque<Event> events;
  for (const std::string& path : {path_ + ".old", path_}) {
    lines_ = 0;
    Result<std::string> text = read_small_file(path, kEventLogBytesMax);
    if (!text) continue;
    std::size_t start = 0;
    for (std::size_t end; (end = text->find('\n', start)) != std::string::npos; start = end + 1) {
      ++lines_;
      Event event;
      if (from_line(std::string_view(*text).substr(start, end - start), event)) {
        events.push_back(std::move(event));
      }
    }
    // What comes next must not continue a torn line.
    if (start < text->size()) (void)append_to_file(path, "\n");
  }
  while (events.size() > kEventHistoryMax) events.pop_front();
  return events;
}

}  // namespace keepwell
