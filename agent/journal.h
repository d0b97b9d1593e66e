// DATA/journal/journal.log: the one record of what happened, what was decided and why
// (exporters/journal.h). Appended before anybody is told, without fsync, so that what an agent told
// of is there for the next one; what a crash of the machine tears is counted and left out. At
// max_size the file becomes journal.log.1, and so on up to max_files. Beside it config-NAME.json:
// the accepted configurations that its records speak of, the newest kConfigsMax of them.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "config/result.h"
#include "config/spec.h"
#include "exporters/event.h"

namespace keepwell {

// The journal of a data directory, for whoever reads it (journal_reader.h).
std::string journal_path(const std::string& data_dir);

inline constexpr std::size_t kConfigsMax = 32;

// The configuration that a record of the journal in directory DIR calls NAME; none where it is not
// kept (any more). Text of NAME that is no name of ours finds nothing.
std::optional<ProjectSpec> read_journal_config(const std::string& dir, const std::string& name);

class Journal {
 public:
  explicit Journal(const std::string& data_dir) : path_(journal_path(data_dir)) {}

  // Makes the directory; with every new configuration.
  Status configure(const JournalSpec& spec);

  // After a failure a part of the record may be there.
  Status append(const Event& event);

  // The newest `count` events (not results and decisions), oldest first, and the highest sequence
  // number that was given.
  struct Tail {
    std::deque<Event> events;
    std::uint64_t last_sequence = 0;
  };
  Tail load_tail(std::size_t count);

  // Keeps PROJECT beside the records, as the one in force from here on, for `simulate`. Returns the
  // name that a record gives it; empty where it could not be kept.
  std::string keep_config(const ProjectSpec& project);

  const std::string& path() const { return path_; }
  std::uint64_t bytes_total() const { return bytes_total_; }
  std::uint64_t records_total() const { return records_total_; }
  std::uint64_t write_failures() const { return write_failures_; }
  std::uint64_t torn() const { return torn_; }    // records that load_tail() found torn
  std::uint64_t newer() const { return newer_; }  // or of a newer version

 private:
  Status write(const std::string& line);
  void rotate();

  std::string path_;
  JournalSpec spec_;
  std::string configure_;  // the last record of which configuration is in force
  std::uint64_t file_bytes_ = 0;
  std::uint64_t bytes_total_ = 0;
  std::uint64_t records_total_ = 0;
  std::uint64_t write_failures_ = 0;
  std::uint64_t torn_ = 0;
  std::uint64_t newer_ = 0;
};

}  // namespace keepwell
