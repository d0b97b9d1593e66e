// The mapped file beside each container's log by which a killed logger's successor knows, to the
// byte, what was done. A batch of lines goes from a FIFO to the log in these steps:
//
//   1  look at the FIFO's bytes without taking them (tee), make the lines
//   2  note: log inode, its size, bytes that will be taken, their first 64; `sink` = those,
//   inverted 3  phase = writing | stream         4  append the lines 5  phase = consuming | stream
//   6  take the bytes: the read's first 64 land in `sink` 7  phase = idle
//
// Killed in 3-4: the log is cut back to the noted size; nothing was taken, so the batch is made
// again. Killed in 5-6: the lines are there; whether the bytes were taken is seen in `sink`, which
// the kernel wrote in the very call that took them. Comparing what the FIFO holds now would confuse
// a repeated line with one that was not taken. The file is never synced: it must outlive processes,
// not the boot.
#pragma once

#include <cstdint>

namespace keepwell {

inline constexpr std::uint64_t kLogRecordMagic = 0x31474f4c574b;  // "KWLOG1"
inline constexpr std::uint32_t kLogRecordSampleBytes = 64;

enum class LogPhase : std::uint32_t { idle = 0, writing = 1, consuming = 2 };

struct LogStreamRecord {
  std::uint64_t fifo_device;
  std::uint64_t fifo_inode;
  std::uint32_t take_bytes;  // what the batch takes from the FIFO
  std::uint32_t unsettled;   // 1: it may or may not have been taken; `sink` knows
  std::uint8_t expected[kLogRecordSampleBytes];
  std::uint8_t sink[kLogRecordSampleBytes];
  // Counters, for metrics. They only grow.
  std::uint64_t bytes;           // taken from the FIFO
  std::uint64_t lines;           // written, parts of long lines too
  std::uint64_t stalled_ms;      // time in which lines waited for the disk
  std::uint64_t write_failures;  // attempts to write that failed
};

struct LogRecord {
  std::uint64_t magic;
  std::uint32_t phase;  // LogPhase | stream << 8
  std::uint32_t rotations;
  std::uint64_t log_device;
  std::uint64_t log_inode;
  std::uint64_t log_bytes;     // before the batch
  LogStreamRecord streams[2];  // stdout, stderr
  std::uint32_t owner;         // pid of the logger that writes it
  std::uint32_t reserved;
};
static_assert(sizeof(LogRecord) <= 4096);
inline constexpr std::uint64_t kLogRecordBytes = 4096;

}  // namespace keepwell
