// DATA/incidents: one directory for each incident, its files as text. When there are too many, or
// all together are too large, the oldest go, before a new one begins and when it has ended. What
// cannot be written is an Error of that file; the directory is there with what could.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "config/spec.h"
#include "config/time.h"

namespace keepwell {

struct StoredIncident {
  std::string id;
  WallTime at{};  // to the millisecond
  std::uint64_t bytes = 0;
};

class IncidentStore {
 public:
  explicit IncidentStore(const std::string& data_dir) : dir_(data_dir + "/incidents") {}

  void configure(const IncidentsSpec& spec) { spec_ = spec; }

  // Makes the directory of incident ID; one that there is already is gone on with. After a failure
  // write() fails too.
  Status begin(const std::string& id, WallTime at);
  // No more will be written of it.
  void end(const std::string& id);

  // REQUIRES: between begin() and end(); NAME is a plain file name of ours. Never lets one incident
  // grow over the whole limit.
  Status write(const std::string& id, const std::string& name, std::string_view text);

  // The oldest go until the limits are kept.
  void prune();

  // Newest first; of a directory that cannot be read: none.
  std::vector<StoredIncident> list() const;

  // The only incident whose id begins with PREFIX: all its files, by name. Errc::not_found, or
  // Errc::invalid where there are several.
  struct Shown {
    StoredIncident incident;
    std::vector<std::pair<std::string, std::string>> files;
  };
  Result<Shown> show(const std::string& prefix) const;

  std::uint64_t removed_total() const { return removed_total_; }

 private:
  struct Open {
    std::string place;
    StoredIncident incident;
  };
  void look();

  std::string dir_;
  IncidentsSpec spec_;
  std::map<std::string, Open> open_;
  std::vector<StoredIncident> known_;  // the others, oldest first, as we left them
  bool looked_ = false;
  std::uint64_t removed_total_ = 0;
};

}  // namespace keepwell
