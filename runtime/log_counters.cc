#include "runtime/log_counters.h"

#include <fcntl.h>
#include <unistd.h>

#include "runtime/logger/log_record.h"
#include "runtime/unique_fd.h"

namespace keepwell {

std::optional<LogCounters> read_log_counters(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  LogRecord record{};
  if (!file || ::pread(file.get(), &record, sizeof record, 0) != sizeof record ||
      record.magic != kLogRecordMagic) {
    return std::nullopt;
  }
  LogCounters sum;
  sum.rotations = record.rotations;
  for (const LogStreamRecord& stream : record.streams) {
    sum.bytes += stream.bytes;
    sum.lines += stream.lines;
    sum.write_failures += stream.write_failures;
    sum.stalled += std::chrono::milliseconds(stream.stalled_ms);
  }
  return sum;
}

}  // namespace keepwell
