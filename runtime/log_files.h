// The files of one container's log: PATH, to which the logger appends, and PATH.1, PATH.2, ...,
// which are older the higher the number. Reading only; rotation may happen at any time, and a file
// that is open here stays readable whatever became of its name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "runtime/unique_fd.h"

namespace keepwell {

struct LogFile {
  UniqueFd fd;
  std::uint64_t device = 0, inode = 0;

  bool same_as(const LogFile& other) const {
    return device == other.device && inode == other.inode;
  }
};

// All that there are now, oldest first, without doubles when a rotation came between. Empty where
// nothing was logged yet.
std::vector<LogFile> open_log_files(const std::string& path);

// The bytes of FILE from OFFSET on, at most BUFFER's size. Fewer than that: its present end.
Result<std::string_view> read_log(const LogFile& file, std::uint64_t offset, std::string& buffer);

// Its present size; 0 if it cannot be told.
std::uint64_t log_bytes(const LogFile& file);

// Whether PATH names another file than FILE by now (or none).
bool was_rotated(const std::string& path, const LogFile& file);

}  // namespace keepwell
