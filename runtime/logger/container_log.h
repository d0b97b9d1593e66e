// One container's log: the file, its rotation, and the record that makes writing it exact
// (log_record.h). Both streams of the container write here, one batch at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/logger/log_lines.h"
#include "runtime/logger/log_record.h"
#include "runtime/logger/stream_blob.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class ContainerLog {
 public:
  explicit ContainerLog(const StreamBlob& blob);
  ~ContainerLog();
  ContainerLog(const ContainerLog&) = delete;
  ContainerLog& operator=(const ContainerLog&) = delete;

  // Limits as the newest stream says; the paths never change.
  void set_limits(const StreamBlob& blob);

  // Finishes what a killed logger had begun with the stream STREAM (0 stdout, 1 stderr) in FIFO.
  // False, errno set, if record or log cannot be opened now; to be tried again.
  bool settle(int fifo, int stream);

  // Appends BATCH, made of RAW, and takes its bytes from FIFO. False, errno set, if the disk does
  // not take it: nothing has changed then, it is to be tried again. REQUIRES: settle() succeeded
  // for this stream; RAW is what FIFO begins with.
  bool write(int fifo, int stream, std::string_view raw, const LogBatch& batch);

  // How much text the next batch may bring without making the file larger than it may be.
  std::size_t room() const;

  void count_stall(int stream, std::uint64_t milliseconds);

  // Whether another logger has taken over since. let_go() closes the log file meanwhile.
  bool taken_over() const;
  void let_go() { log_.reset(); }

 private:
  bool open_record();
  bool open_log();
  bool mend();
  bool make_room(std::size_t bytes);
  bool rotate();
  void recover();
  void take(int fifo, int stream, std::uint32_t bytes);
  void stage(int fifo, int stream, std::string_view raw, std::uint32_t bytes);
  void set_phase(LogPhase phase, int stream = 0);

  std::string path_;
  std::string record_path_;
  std::uint64_t file_bytes_max_ = 0;
  int files_max_ = 1;
  UniqueFd log_;
  std::uint64_t bytes_ = 0;  // of the current file
  LogRecord* record_ = nullptr;
};

}  // namespace keepwell
