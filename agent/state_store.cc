#include "agent/state_store.h"

#include <utility>

#include "agent/status_record.h"
#include "config/spec_json.h"
#include "runtime/state_file.h"

namespace keepwell {

namespace {

// Counters alone are copied to the data directory no more often than this.
constexpr Duration kCopyEvery = std::chrono::seconds(60);

// What a person decided, or what decides whether a container starts after a reboot.
std::string intent_of(const ContainerStatus& status) {
  std::string intent = status.name;
  if (status.hold) intent += ' ' + std::to_string(status.hold->until.time_since_epoch().count());
  for (bool bit : {status.stopped_by_hand, status.start_at_next_run,
                   status.state == ServiceState::failed, status.state == ServiceState::exited}) {
    intent += bit ? '1' : '0';
  }
  for (const CheckStatus& check : status.checks) intent += check.paused_by_hand ? '1' : '0';
  return intent;
}

// A process of an earlier boot is gone (whoever adopts it will be told so), and its clock was
// another one.
void forget_boot(ContainerStatus& status) {
  // As Docker does when it begins: `always` is meant also of what was stopped by hand.
  if (status.state == ServiceState::exited && status.stopped_by_hand && status.spec &&
      status.spec->restart.policy == RestartPolicy::always) {
    status.start_at_next_run = true;
  }
  status.started_mono = Instant{};
  if (status.next_start) status.next_start = Instant{};
  if (status.stop_deadline) status.stop_deadline = Instant{};
  status.healthy_since.reset();
  status.restart_times.clear();
  status.hold_until.reset();
  status.budget_times.clear();
  for (CheckStatus& check : status.checks) {
    check.next_probe.reset();
    check.held_since.reset();
    for (ProbeResult& result : check.log) result.started = result.ended = Instant{};
  }
}

}  // namespace

StateStore::StateStore(std::string run_state, std::string data_state, std::string boot_id)
    : run_state_(std::move(run_state)),
      data_state_(std::move(data_state)),
      boot_id_(std::move(boot_id)) {}

Result<StateStore> StateStore::open(const std::string& run_dir, const std::string& data_dir,
                                    const std::string& boot_id) {
  StateStore store(run_dir + "/state", data_dir + "/state", boot_id);
  if (Status made = store.make_dirs(); !made) return fail(made.error());
  return store;
}

Status StateStore::make_dirs() {
  for (auto& [id, entry] : entries_) entry.live = {};  // open in a directory that was moved away
  for (const std::string& dir : {run_state_, data_state_}) {
    if (Status made = make_private_dir(dir, 0700); !made) return made;
  }
  return {};
}

Status StateStore::save_project(const ProjectSpec& project) {
  std::string text = project_to_json(project);
  Status saved = write_state_file(run_state_ + "/project.json", text);
  Status copied = write_state_file(data_state_ + "/project.json", text);
  write_failures_ += (saved ? 0 : 1) + (copied ? 0 : 1);
  return saved;  // a data directory that is full must not keep keepwell from its work
}

Result<ProjectSpec> StateStore::load_project(std::vector<std::string>& problems) const {
  Result<ProjectSpec> project = read_project_file(run_state_ + "/project.json", problems);
  if (project) return project;
  // Somebody has emptied the run directory.
  Result<ProjectSpec> copy = read_project_file(data_state_ + "/project.json", problems);
  if (!copy) return project;
  problems.push_back(project.error().text + "; going on with its copy in " + data_state_);
  return copy;
}

Result<ProjectSpec> StateStore::read_project(const std::string& run_dir,
                                             std::vector<std::string>& problems) {
  return read_project_file(run_dir + "/state/project.json", problems);
}

Result<ProjectSpec> StateStore::read_project_file(const std::string& path,
                                                  std::vector<std::string>& problems) {
  StateFileRead read = read_state_file(path);
  problems.insert(problems.end(), read.problems.begin(), read.problems.end());
  if (!read.body) {
    return fail(Errc::not_found, "cannot find the accepted configuration in " + path +
                                     "; start keepwell with `keepwell run -f FILE`");
  }
  Result<ProjectSpec> project = project_from_json(*read.body);
  if (!project) return fail(project.error().with("cannot use " + path));
  return project;
}

std::vector<ContainerStatus> StateStore::restore(std::vector<std::string>& problems) {
  std::set<std::string> ids;
  for (const std::string& dir : {run_state_, data_state_}) {
    for (const char* suffix : {".json", ".json.prev"}) {
      for (std::string& id : list_state_files(dir, suffix)) {
        if (id.size() == 64) ids.insert(std::move(id));
      }
    }
  }
  std::vector<ContainerStatus> containers;
  for (const std::string& id : ids) {
    bool behind = false;
    for (const std::string& dir : {run_state_, data_state_}) {
      StateFileRead read = read_state_file(dir + "/" + id + ".json");
      problems.insert(problems.end(), read.problems.begin(), read.problems.end());
      behind = behind || dir != run_state_ || read.older || !read.problems.empty();
      if (!read.body) continue;
      Result<StatusRecord> record = decode_status(*read.body);
      if (!record || record->status.id != id) {
        problems.push_back("cannot use the record of container " + id.substr(0, 12) + " in " + dir +
                           (record ? ": it is of another one" : ": " + record.error().text));
        continue;
      }
      bool same_boot = record->boot_id == boot_id_;
      Entry& entry = entries_[id];
      entry.boot_id = record->boot_id;
      entry.behind = behind;
      entry.live_sequence = record->live_sequence;
      std::string problem;
      std::optional<LiveRecord> live = read_live_record(run_state_ + "/" + id + ".live", &problem);
      if (!problem.empty()) problems.push_back(problem);
      if (live && same_boot && dir == run_state_ && live->sequence > record->live_sequence) {
        entry.live_sequence = live->sequence;
        Status applied = decode_live(live->body, record->status);
        if (!applied && applied.error().code != Errc::conflict) {
          problems.push_back(applied.error().text);
        }
      }
      if (!same_boot) forget_boot(record->status);
      containers.push_back(std::move(record->status));
      break;
    }
  }
  return containers;
}

bool StateStore::is_behind(const std::string& id) const {
  auto found = entries_.find(id);
  return found != entries_.end() && found->second.behind;
}

std::string StateStore::boot_id(const std::string& id) const {
  auto found = entries_.find(id);
  return found == entries_.end() ? std::string() : found->second.boot_id;
}

Status StateStore::note(Status status, bool& failing) {
  if (status) {
    failing = false;
    return {};
  }
  ++write_failures_;
  // Once per file: a full disk must not fill the log as well.
  return std::exchange(failing, true) ? Status() : status;
}

Status StateStore::save(const ContainerStatus& status, bool status_changed, Instant now) {
  Entry& entry = entries_[status.id];
  ++entry.live_sequence;
  Status saved;
  if (!status_changed) {
    std::string path = run_state_ + "/" + status.id + ".live";
    saved =
        note(entry.live.write(path, entry.live_sequence, encode_live(status, kLiveRecordBytesMax)),
             entry.live_failing);
  } else {
    entry.boot_id = boot_id_;
    std::string text = encode_status({status, boot_id_, entry.live_sequence});
    saved =
        note(write_state_file(run_state_ + "/" + status.id + ".json", text), entry.status_failing);
    if (!entry.status_failing) entry.live_failing = false;  // all of it is in the newer record
    Status copied = save_copy(entry, status, text, false, now);
    if (saved) saved = copied;
  }
  if (entry.live_failing || entry.status_failing || entry.copy_failing) {
    unsaved_.insert(status.id);
  } else {
    unsaved_.erase(status.id);
  }
  return saved;
}

Status StateStore::save_copy(Entry& entry, const ContainerStatus& status, const std::string& text,
                             bool force, Instant now) {
  std::string intent = intent_of(status);
  const bool began = status.starts_total > 0;  // decides too, but nobody said so
  if (!force && intent == entry.intent && began == entry.began && now - entry.copied < kCopyEvery) {
    return {};
  }
  bool said = force || (!entry.intent.empty() && intent != entry.intent);
  Status copied = note(write_state_file(data_state_ + "/" + status.id + ".json", text,
                                        said ? Outlives::power_cut : Outlives::processes),
                       entry.copy_failing);
  if (!entry.copy_failing) {
    entry.intent = std::move(intent);
    entry.began = began;
    entry.copied = now;
  }
  return copied;
}

Status StateStore::save_all(const std::vector<const ContainerStatus*>& containers) {
  Status first;
  for (const ContainerStatus* status : containers) {
    Entry& entry = entries_[status->id];
    ++entry.live_sequence;
    entry.boot_id = boot_id_;
    std::string text = encode_status({*status, boot_id_, entry.live_sequence});
    Status saved = write_state_file(run_state_ + "/" + status->id + ".json", text);
    write_failures_ += saved ? 0 : 1;
    Status copied = save_copy(entry, *status, text, true, Instant{});
    if (saved) saved = copied;
    if (!saved && first) first = saved;
  }
  return first;
}

void StateStore::forget(const std::string& id) {
  remove_state_file(run_state_ + "/" + id + ".json");
  remove_state_file(run_state_ + "/" + id + ".live");
  remove_state_file(data_state_ + "/" + id + ".json");
  entries_.erase(id);
  unsaved_.erase(id);
}

}  // namespace keepwell
