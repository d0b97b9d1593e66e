#include "runtime/logger/container_log.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

namespace keepwell {
namespace {

// Directories on the way to PATH, in case somebody has emptied the run or data directory.
void make_parents(const std::string& path) {
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    mkdir(path.substr(0, slash).c_str(), 0750);
  }
}

UniqueFd open_file(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd && errno == ENOENT) {
    make_parents(path);
    fd.reset(open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode));
  }
  return fd;
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

ContainerLog::ContainerLog(const StreamBlob& blob)
    : path_(blob.log_path), record_path_(blob.record_path) {
  set_limits(blob);
}

ContainerLog::~ContainerLog() {
  if (record_ != nullptr) munmap(record_, kLogRecordBytes);
}

void ContainerLog::set_limits(const StreamBlob& blob) {
  file_bytes_max_ = blob.file_bytes_max;
  files_max_ = blob.files_max;
}

bool ContainerLog::open_record() {
  if (record_ != nullptr) return true;
  UniqueFd fd = open_file(record_path_, O_RDWR | O_CREAT, 0640);
  struct stat st {};
  if (!fd || fstat(fd.get(), &st) != 0) return false;
  // Written through, not only sized: a page that the disk has no room for would be a SIGBUS later.
  if (static_cast<std::uint64_t>(st.st_size) < kLogRecordBytes) {
    std::vector<char> zeroes(kLogRecordBytes);
    if (pwrite(fd.get(), zeroes.data(), zeroes.size(), 0) != std::ssize(zeroes)) {
      if (ftruncate(fd.get(), 0) != 0) return false;
      errno = ENOSPC;
      return false;
    }
  }
  void* map = mmap(nullptr, kLogRecordBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (map == MAP_FAILED) return false;
  record_ = static_cast<LogRecord*>(map);
  if (record_->magic != kLogRecordMagic) {  // new, or not ours
    std::memset(record_, 0, sizeof(*record_));
    record_->magic = kLogRecordMagic;
  }
  return true;
}

bool ContainerLog::open_log() {
  struct stat st {};
  if (log_ && fstat(log_.get(), &st) == 0 && st.st_nlink > 0) return true;
  log_ = open_file(path_, O_WRONLY | O_CREAT | O_APPEND, 0640);
  if (!log_ || fstat(log_.get(), &st) != 0) return false;
  bytes_ = static_cast<std::uint64_t>(st.st_size);
  return true;
}

void ContainerLog::set_phase(LogPhase phase, int stream) {
  std::atomic_ref<std::uint32_t>(record_->phase)
      .store(static_cast<std::uint32_t>(phase) | static_cast<std::uint32_t>(stream) << 8,
             std::memory_order_release);
}

// What the logger before this one was doing.
void ContainerLog::recover() {
  auto phase = static_cast<LogPhase>(record_->phase & 0xff);
  std::uint32_t stream = (record_->phase >> 8) & 1;
  struct stat st {};
  if (phase == LogPhase::writing && fstat(log_.get(), &st) == 0 &&
      st.st_dev == record_->log_device && st.st_ino == record_->log_inode &&
      static_cast<std::uint64_t>(st.st_size) > record_->log_bytes) {
    if (ftruncate(log_.get(), static_cast<off_t>(record_->log_bytes)) == 0) {
      bytes_ = record_->log_bytes;
    }
  }
  if (phase == LogPhase::consuming) record_->streams[stream].unsettled = 1;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  set_phase(LogPhase::idle);
}

bool ContainerLog::settle(int fifo, int stream) {
  bool first = record_ == nullptr;
  if (!open_record()) return false;
  if (!open_log()) {
    ++record_->streams[stream].write_failures;
    if (first) munmap(std::exchange(record_, nullptr), kLogRecordBytes);  // recover() is still due
    return false;
  }
  if (first) {
    record_->owner = static_cast<std::uint32_t>(getpid());
    recover();
  }
  LogStreamRecord& part = record_->streams[stream];
  struct stat st {};
  if (part.unsettled == 0 || fstat(fifo, &st) != 0 || st.st_dev != part.fifo_device ||
      st.st_ino != part.fifo_inode) {
    return true;
  }
  std::uint32_t sample = std::min(part.take_bytes, kLogRecordSampleBytes);
  bool taken = std::memcmp(part.sink, part.expected, sample) == 0;
  if (!taken) take(fifo, stream, part.take_bytes);
  part.unsettled = 0;
  return true;
}

void ContainerLog::stage(int fifo, int stream, std::string_view raw, std::uint32_t bytes) {
  LogStreamRecord& part = record_->streams[stream];
  struct stat st {};
  fstat(fifo, &st);
  part.unsettled = 0;  // of an earlier FIFO, which nobody has brought
  part.fifo_device = st.st_dev;
  part.fifo_inode = st.st_ino;
  part.take_bytes = bytes;
  std::uint32_t sample = std::min(bytes, kLogRecordSampleBytes);
  for (std::uint32_t i = 0; i < sample; ++i) {
    auto byte = static_cast<std::uint8_t>(raw[i]);
    part.expected[i] = byte;
    part.sink[i] = static_cast<std::uint8_t>(~byte);
  }
}

void ContainerLog::take(int fifo, int stream, std::uint32_t bytes) {
  static std::array<char, 1 << 20> rest;  // what it gets is not looked at
  std::uint32_t sample = std::min(bytes, kLogRecordSampleBytes);
  std::array<iovec, 2> parts{iovec{record_->streams[stream].sink, sample},
                             iovec{rest.data(), bytes - sample}};
  while (readv(fifo, parts.data(), 2) < 0 && errno == EINTR) {
  }
}

bool ContainerLog::write(int fifo, int stream, std::string_view raw, const LogBatch& batch) {
  LogStreamRecord& part = record_->streams[stream];
  if (!open_log() || !mend() || !make_room(batch.text.size())) {
    ++part.write_failures;
    return false;
  }
  struct stat st {};
  fstat(log_.get(), &st);
  auto bytes = static_cast<std::uint32_t>(batch.raw_bytes);
  stage(fifo, stream, raw, bytes);
  record_->log_device = st.st_dev;
  record_->log_inode = st.st_ino;
  record_->log_bytes = bytes_;
  set_phase(LogPhase::writing, stream);
  if (!write_all(log_.get(), batch.text)) {
    int error = errno;
    ++part.write_failures;
    if (ftruncate(log_.get(), static_cast<off_t>(bytes_)) == 0) set_phase(LogPhase::idle);
    errno = error;
    return false;
  }
  set_phase(LogPhase::consuming, stream);
  take(fifo, stream, bytes);
  set_phase(LogPhase::idle);
  bytes_ += batch.text.size();
  part.bytes += bytes;
  part.lines += batch.lines;
  return true;
}

// Cuts off what a failed write has left, where it could not be cut off then; takes note of a file
// that somebody else has changed.
bool ContainerLog::mend() {
  struct stat st {};
  if (fstat(log_.get(), &st) != 0) return false;
  if (static_cast<LogPhase>(record_->phase & 0xff) == LogPhase::writing) {
    if (st.st_ino == record_->log_inode && static_cast<std::uint64_t>(st.st_size) > bytes_ &&
        ftruncate(log_.get(), static_cast<off_t>(bytes_)) != 0) {
      return false;
    }
    set_phase(LogPhase::idle);
    return true;
  }
  bytes_ = static_cast<std::uint64_t>(st.st_size);
  return true;
}

std::size_t ContainerLog::room() const {
  if (file_bytes_max_ == 0) return SIZE_MAX;
  return bytes_ < file_bytes_max_ ? file_bytes_max_ - bytes_ : file_bytes_max_;
}

bool ContainerLog::make_room(std::size_t bytes) {
  if (file_bytes_max_ == 0 || bytes_ == 0 || bytes_ + bytes <= file_bytes_max_) return true;
  return rotate();
}

// log.1 is the newest of the old ones. Only the files before the first gap move, so that a rotation
// that was interrupted and begins again pushes nothing out twice.
bool ContainerLog::rotate() {
  auto name = [&](int number) { return path_ + "." + std::to_string(number); };
  int gap = 1;
  while (gap < files_max_ && access(name(gap).c_str(), F_OK) == 0) ++gap;
  if (gap >= files_max_) gap = files_max_ - 1;
  for (int number = gap; number > 1; --number) {
    rename(name(number - 1).c_str(), name(number).c_str());
  }
  if (files_max_ == 1 ? unlink(path_.c_str()) != 0 : rename(path_.c_str(), name(1).c_str()) != 0) {
    if (errno != ENOENT) return false;
  }
  ++record_->rotations;
  log_.reset();
  return open_log();
}

bool ContainerLog::taken_over() const {
  return record_ != nullptr && record_->owner != static_cast<std::uint32_t>(getpid());
}

void ContainerLog::count_stall(int stream, std::uint64_t milliseconds) {
  if (record_ != nullptr) record_->streams[stream].stalled_ms += milliseconds;
}

}  // namespace keepwell
