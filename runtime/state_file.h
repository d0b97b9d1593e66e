// Small files that must be whole or absent: what an agent leaves for the next one.
//
// A state file is one line of header ("keepwell-state 1 CRC LENGTH") and a body. It is replaced by
// writing a temporary file and rename; the one before stays as PATH.prev. Reading checks
// length and CRC; what is torn, truncated or of an unknown version is set aside as PATH.bad and the
// previous one is tried, so that damage costs one step of history, never a crash.
//
// A live record changes with every probe, so it is never fsynced or renamed: two slots in one
// sparse file are written in turn, each with a sequence number and a CRC; the newer whole one
// counts. A process killed in the middle of a write damages only the older slot. (A mapping would
// do the same, at the price of its pages in our resident memory.)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "runtime/unique_fd.h"

namespace keepwell {

std::uint32_t crc32(std::string_view bytes);

// What is written must outlive the death of any process anyway. `power_cut` costs an fsync before
// the rename, that is, some 10 ms of a busy disk in which the caller waits: for what an operator
// said, not for what changes with the services.
enum class Outlives { processes, power_cut };

// Replaces PATH. After a failure the old file is as it was.
Status write_state_file(const std::string& path, std::string_view body,
                        Outlives outlives = Outlives::processes);

struct StateFileRead {
  std::optional<std::string> body;  // none: there is no file, or none that is whole
  bool older = false;  // it is not the newest, which could not be read: now, or when it was tried
  std::vector<std::string> problems;  // what was set aside and why; for the log
};
StateFileRead read_state_file(const std::string& path);

// Removes PATH and what belongs to it.
void remove_state_file(const std::string& path);

inline constexpr std::size_t kLiveRecordBytesMax = (1u << 20) - 64;

// Writes live records; the file is opened with the first, and again where somebody has removed it.
class LiveRecordFile {
 public:
  // Writes the record with SEQUENCE, which must rise by one from write to write.
  // REQUIRES: body.size() <= kLiveRecordBytesMax; PATH is always the same.
  Status write(const std::string& path, std::uint64_t sequence, std::string_view body);

 private:
  Status open(const std::string& path);

  UniqueFd fd_;
};

struct LiveRecord {
  std::uint64_t sequence = 0;
  std::string body;
};
// The newest whole record, if there is one. PROBLEM is set where only an unusable one was found.
std::optional<LiveRecord> read_live_record(const std::string& path, std::string* problem);

// Names in DIR that end in SUFFIX, without it, sorted; empty where DIR cannot be read.
std::vector<std::string> list_state_files(const std::string& dir, std::string_view suffix);

// Creates DIR and its missing parents, and checks that it is a directory of ours that no other user
// can write to.
Status make_private_dir(const std::string& dir, std::uint32_t mode);

// The whole of a small file of at most LIMIT bytes.
Result<std::string> read_small_file(const std::string& path, std::size_t limit);

// Adds TEXT to the end of PATH in one write, creating it. After a failure a part of it may be
// there.
Status append_to_file(const std::string& path, std::string_view text);
// False where there was none, or it could not be removed.
bool remove_file(const std::string& path);
Status rename_file(const std::string& from, const std::string& to);

// /proc/sys/kernel/random/boot_id without its newline; empty where there is none.
std::string read_boot_id();

}  // namespace keepwell
