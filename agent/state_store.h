// What an agent leaves for the next one, and where:
//   RUN/state/project.json    the accepted, interpolated configuration; a copy in DATA/state
//   RUN/state/ID.json, .live  each container: everything, and what changes with every probe
//   DATA/state/ID.json        what must outlive a reboot: operator intent, ids, counters
// Damaged files are set aside and reported, never fatal. A failed write is reported once per file;
// whoever owns the containers tries again (unsaved).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "config/result.h"
#include "config/spec.h"
#include "config/time.h"
#include "exporters/container_status.h"
#include "runtime/state_file.h"

namespace keepwell {

class StateStore {
 public:
  // Prepares the state directories below both. Fails where they cannot be made or are not safe.
  // BOOT_ID: of the present boot.
  static Result<StateStore> open(const std::string& run_dir, const std::string& data_dir,
                                 const std::string& boot_id = read_boot_id());

  // Makes them anew, should somebody have removed them.
  Status make_dirs();

  // The accepted configuration. Written by `run` and by a reload. The copy is for a run directory
  // that somebody has emptied.
  Status save_project(const ProjectSpec& project);
  Result<ProjectSpec> load_project(std::vector<std::string>& problems) const;
  // The same for who only wants to look, and makes no directories.
  static Result<ProjectSpec> read_project(const std::string& run_dir,
                                          std::vector<std::string>& problems);

  // Everything that earlier agents left. From an earlier boot, a container has its intent, its
  // counters and its id; its Instants are reset.
  std::vector<ContainerStatus> restore(std::vector<std::string>& problems);

  // Whether what restore() gave of container ID is not the newest that was written: that could not
  // be read, or somebody has removed it.
  bool is_behind(const std::string& id) const;

  // The boot in which the container's pid was seen; empty: unknown.
  std::string boot_id(const std::string& id) const;

  // STATUS_CHANGED: everything; else only the live part. NOW is for the pace of copies to DATA.
  Status save(const ContainerStatus& status, bool status_changed, Instant now);

  // Also to DATA, whatever the pace; for the end of the agent.
  Status save_all(const std::vector<const ContainerStatus*>& containers);

  void forget(const std::string& id);

  std::uint64_t write_failures() const { return write_failures_; }

  // Containers of which the newest record could not be written.
  const std::set<std::string>& unsaved() const { return unsaved_; }

 private:
  struct Entry {
    std::uint64_t live_sequence = 0;
    LiveRecordFile live;
    std::string boot_id;
    std::string intent;  // of the last copy in DATA
    Instant copied{};
    bool live_failing = false, status_failing = false, copy_failing = false;
    bool behind = false;
    bool began = false;  // as in that copy: it had been started once
  };

  static Result<ProjectSpec> read_project_file(const std::string& path,
                                               std::vector<std::string>& problems);
  StateStore(std::string run_state, std::string data_state, std::string boot_id);
  Status save_copy(Entry& entry, const ContainerStatus& status, const std::string& text, bool force,
                   Instant now);
  Status note(Status status, bool& failing);

  std::string run_state_;
  std::string data_state_;
  std::string boot_id_;
  std::map<std::string, Entry> entries_;
  std::set<std::string> unsaved_;
  std::uint64_t write_failures_ = 0;
};

}  // namespace keepwell
