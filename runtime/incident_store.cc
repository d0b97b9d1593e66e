#include "runtime/incident_store.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>

#include "runtime/state_file.h"

namespace keepwell {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kShownBytesMax = 4u << 20;

std::uint64_t bytes_in(const fs::path& dir) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const fs::directory_entry& file : fs::directory_iterator(dir, error)) {
    const std::uintmax_t size = file.file_size(error);
    if (!error) bytes += size;
  }
  return bytes;
}

// "1795550400123-3f2a9c01d4e7": milliseconds since 1970, then the id; so names sort by age.
bool parse_name(const std::string& name, StoredIncident& incident) {
  const std::size_t dash = name.find('-');
  if (dash == std::string::npos || dash + 1 == name.size()) return false;
  std::int64_t millis = 0;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + dash, millis);
  if (error != std::errc() || stop != name.data() + dash) return false;
  incident.id = name.substr(dash + 1);
  incident.at = WallTime(std::chrono::milliseconds(millis));
  return true;
}

std::string name_of(const StoredIncident& incident) {
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(incident.at.time_since_epoch());
  return std::to_string(millis.count()) + "-" + incident.id;
}

}  // namespace

std::vector<StoredIncident> IncidentStore::list() const {
  std::vector<StoredIncident> all;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir_, error)) {
    StoredIncident incident;
    if (!parse_name(entry.path().filename().string(), incident)) continue;
    incident.bytes = bytes_in(entry.path());
    all.push_back(std::move(incident));
  }
  std::sort(all.begin(), all.end(), [](const StoredIncident& a, const StoredIncident& b) {
    return a.at != b.at ? a.at > b.at : a.id > b.id;
  });
  return all;
}

Status IncidentStore::begin(const std::string& id, WallTime at) {
  if (Status made = make_private_dir(dir_, 0700); !made) return made;
  if (!looked_) look();
  auto found = std::find_if(known_.begin(), known_.end(),
                            [&](const StoredIncident& each) { return each.id == id; });
  StoredIncident incident{.id = id, .at = at};
  if (found != known_.end()) {
    incident = *found;
    known_.erase(found);
  }
  const std::string place = dir_ + "/" + name_of(incident);
  if (Status made = make_private_dir(place, 0700); !made) return made;
  open_[id] = {.place = place, .incident = std::move(incident)};
  prune();
  return {};
}

void IncidentStore::end(const std::string& id) {
  const auto open = open_.find(id);
  if (open == open_.end()) return;
  known_.push_back(std::move(open->second.incident));
  open_.erase(open);
  prune();
}

void IncidentStore::look() {
  looked_ = true;
  known_ = list();
  std::reverse(known_.begin(), known_.end());
  std::erase_if(known_, [this](const StoredIncident& each) { return open_.contains(each.id); });
}

Status IncidentStore::write(const std::string& id, const std::string& name, std::string_view text) {
  const auto open = open_.find(id);
  if (open == open_.end()) {
    return fail(Errc::not_found, "cannot write " + name + ": incident " + id + " has no directory");
  }
  if (open->second.incident.bytes + text.size() > spec_.bytes_max) {
    return fail(Errc::unavailable,
                "cannot write " + name + ": the incident would be larger than incidents.max_size");
  }
  const std::string path = open->second.place + "/" + name;
  std::error_code error;
  const std::uintmax_t replaced = fs::file_size(path, error);
  if (!error)
    open->second.incident.bytes -= std::min<std::uint64_t>(open->second.incident.bytes, replaced);
  remove_file(path);
  open->second.incident.bytes += text.size();
  return append_to_file(path, text);
}

// What is being written counts, and stays.
void IncidentStore::prune() {
  std::uint64_t bytes = 0;
  for (const StoredIncident& incident : known_) bytes += incident.bytes;
  for (const auto& [id, open] : open_) bytes += open.incident.bytes;
  std::size_t oldest = 0;
  bool looked_again = false;
  while (oldest < known_.size() &&
         (known_.size() - oldest + open_.size() > static_cast<std::size_t>(spec_.count) ||
          bytes > spec_.bytes_max)) {
    const StoredIncident& incident = known_[oldest];
    std::error_code error;
    const std::uintmax_t removed = fs::remove_all(dir_ + "/" + name_of(incident), error);
    if (removed == 0 && !error && !std::exchange(looked_again, true)) {
      look();  // somebody else has removed some
      return prune();
    }
    bytes -= std::min(bytes, incident.bytes);
    ++oldest;
    ++removed_total_;
  }
  known_.erase(known_.begin(), known_.begin() + static_cast<std::ptrdiff_t>(oldest));
}

Result<IncidentStore::Shown> IncidentStore::show(const std::string& prefix) const {
  Shown shown;
  int found = 0;
  for (const StoredIncident& incident : list()) {
    if (prefix.empty() || !incident.id.starts_with(prefix)) continue;
    shown.incident = incident;
    if (++found > 1) {
      return fail(Errc::invalid, "several incidents begin with " + prefix + ": write more of it");
    }
  }
  if (found == 0) return fail(Errc::not_found, "No such incident: " + prefix);
  const std::string place = dir_ + "/" + name_of(shown.incident);
  std::error_code error;
  for (const fs::directory_entry& file : fs::directory_iterator(place, error)) {
    Result<std::string> text = read_small_file(file.path().string(), kShownBytesMax);
    shown.files.emplace_back(file.path().filename().string(),
                             text ? *text : text.error().text + "\n");
  }
  std::sort(shown.files.begin(), shown.files.end());
  return shown;
}

}  // namespace keepwell
