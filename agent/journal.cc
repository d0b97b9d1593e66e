#include "agent/journal.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>
#include <vector>

#include "config/spec_json.h"
#include "exporters/journal.h"
#include "runtime/log_files.h"
#include "runtime/state_file.h"

namespace keepwell {
namespace {

// How much of the newest file is read at the start: far more than the events that are kept in
// memory need, far less than what would be felt.
constexpr std::uint64_t kTailBytes = 2u << 20;

constexpr const char* kConfigPrefix = "config-";
constexpr const char* kConfigSuffix = ".json";

std::string directory_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

std::string numbered(const std::string& path, int number) {
  return number == 0 ? path : path + "." + std::to_string(number);
}

}  // namespace

std::string journal_path(const std::string& data_dir) { return data_dir + "/journal/journal.log"; }

std::optional<ProjectSpec> read_journal_config(const std::string& dir, const std::string& name) {
  if (name.empty() || name.find_first_not_of("0123456789abcdef-") != std::string::npos) {
    return std::nullopt;
  }
  const StateFileRead read = read_state_file(dir + "/" + kConfigPrefix + name + kConfigSuffix);
  if (!read.body) return std::nullopt;
  Result<ProjectSpec> project = project_from_json(*read.body);
  return project ? std::optional(std::move(*project)) : std::nullopt;
}

Status Journal::configure(const JournalSpec& spec) {
  spec_ = spec;
  if (Status made = make_private_dir(directory_of(path_), 0700); !made) return made;
  const std::vector<LogFile> files = open_log_files(path_);
  file_bytes_ = files.empty() ? 0 : log_bytes(files.back());
  // A smaller max_files takes effect at once.
  for (int number = spec_.files_max; remove_file(numbered(path_, number)); ++number) {
  }
  return {};
}

Status Journal::append(const Event& event) {
  const std::string line = journal_line(event);
  if (file_bytes_ > 0 && file_bytes_ + line.size() > spec_.file_bytes_max) {
    rotate();
    // Each file says under which configuration its records came about.
    if (file_bytes_ == 0 && !configure_.empty()) (void)write(configure_);
  }
  if (event.kind == EventKind::fact && event.action == "configure") {
    Event again = event;
    std::erase_if(again.attributes, [](const auto& each) { return each.first == "first"; });
    configure_ = journal_line(again);
  }
  return write(line);
}

Status Journal::write(const std::string& line) {
  Status appended = append_to_file(path_, line);
  if (!appended) {
    ++write_failures_;
    return appended;
  }
  file_bytes_ += line.size();
  bytes_total_ += line.size();
  ++records_total_;
  return {};
}

// What cannot be renamed is written on: too large a file is better than a lost one.
void Journal::rotate() {
  if (spec_.files_max <= 1) {
    if (remove_file(path_)) file_bytes_ = 0;
    return;
  }
  for (int number = spec_.files_max - 1; number > 0; --number) {
    const Status moved = rename_file(numbered(path_, number - 1), numbered(path_, number));
    if (!moved && number == 1) return;
  }
  file_bytes_ = 0;
}

std::string Journal::keep_config(const ProjectSpec& project) {
  const std::string text = project_to_json(project);
  char name[40];
  std::snprintf(name, sizeof name, "%08x-%zu", crc32(text), text.size());
  const std::string dir = directory_of(path_);
  if (!write_state_file(dir + "/" + kConfigPrefix + name + kConfigSuffix, text)) {
    ++write_failures_;
    return {};
  }
  remove_file(dir + "/" + kConfigPrefix + name + kConfigSuffix + ".prev");
  std::vector<std::pair<std::filesystem::file_time_type, std::string>> kept;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    const std::string file = entry.path().filename().string();
    if (!file.starts_with(kConfigPrefix)) continue;
    kept.emplace_back(entry.last_write_time(error), entry.path().string());
  }
  std::sort(kept.begin(), kept.end());
  for (std::size_t i = 0; i + kConfigsMax < kept.size(); ++i) remove_file(kept[i].second);
  return name;
}

Journal::Tail Journal::load_tail(std::size_t count) {
  Tail tail;
  std::vector<LogFile> files = open_log_files(path_);
  std::uint64_t left = kTailBytes;
  while (!files.empty() && left > 0 && tail.events.size() < count) {
    const LogFile& file = files.back();
    const std::uint64_t size = log_bytes(file);
    std::string buffer(std::min(size, left), '\0');
    left -= buffer.size();
    const Result<std::string_view> read = read_log(file, size - buffer.size(), buffer);
    if (!read) break;
    std::string_view text = *read;
    // It may begin within a record.
    if (buffer.size() < size) text.remove_prefix(std::min(text.find('\n') + 1, text.size()));
    JournalScan scan = scan_journal(text);
    torn_ += scan.torn;
    newer_ += scan.newer;
    std::deque<Event> found;
    for (Event& event : scan.events) {
      tail.last_sequence = std::max(tail.last_sequence, event.sequence);
      if (event.kind == EventKind::event) found.push_back(std::move(event));
    }
    tail.events.insert(tail.events.begin(), found.begin(), found.end());
    files.pop_back();
  }
  while (tail.events.size() > count) tail.events.pop_front();
  return tail;
}

}  // namespace keepwell
