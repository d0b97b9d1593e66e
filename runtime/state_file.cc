#include "runtime/state_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "config/check.h"

namespace keepwell {

namespace {

constexpr std::size_t kStateFileBytesMax = 64u << 20;
constexpr off_t kSlotBytes = 1 << 20;
constexpr std::uint32_t kSlotMagic = 0x4b574c31;  // "KWL1"

struct SlotHeader {
  std::uint32_t magic;
  std::uint32_t length;
  std::uint64_t sequence;
  std::uint32_t crc;
  std::uint32_t reserved;
};
static_assert(sizeof(SlotHeader) == 24);

Status write_all(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot write " + path);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

std::string header_of(std::string_view body) {
  std::array<char, 64> header{};
  std::snprintf(header.data(), header.size(), "keepwell-state 1 %08x %zu\n", crc32(body),
                body.size());
  return header.data();
}

// The body of a whole state file, or why it is none.
Result<std::string> parse_state_file(const std::string& text) {
  std::size_t end = text.find('\n');
  unsigned version = 0;
  unsigned crc = 0;
  std::size_t length = 0;
  if (end == std::string::npos || end > 60 ||
      std::sscanf(text.c_str(), "keepwell-state %u %x %zu", &version, &crc, &length) != 3) {
    return fail(Errc::invalid, "it has no valid header");
  }
  if (version != 1) {
    return fail(Errc::invalid, "its version " + std::to_string(version) + " is unknown here");
  }
  std::string body = text.substr(end + 1);
  if (body.size() != length) {
    return fail(Errc::invalid, "it has " + std::to_string(body.size()) + " of " +
                                   std::to_string(length) + " bytes");
  }
  if (header_of(body) != text.substr(0, end + 1)) {
    return fail(Errc::invalid, "its checksum is wrong");
  }
  return body;
}

std::optional<LiveRecord> read_slot(int fd, off_t offset, bool* anything) {
  SlotHeader header{};
  ssize_t n = ::pread(fd, &header, sizeof header, offset);
  if (n <= 0) return std::nullopt;
  if (n < static_cast<ssize_t>(sizeof header) || header.magic != kSlotMagic ||
      header.length > kLiveRecordBytesMax) {
    *anything = *anything || n < static_cast<ssize_t>(sizeof header) || header.magic != 0;
    return std::nullopt;
  }
  *anything = true;
  LiveRecord record{header.sequence, std::string(header.length, '\0')};
  n = ::pread(fd, record.body.data(), record.body.size(),
              offset + static_cast<off_t>(sizeof header));
  if (n != static_cast<ssize_t>(record.body.size()) || crc32(record.body) != header.crc) {
    return std::nullopt;
  }
  return record;
}

Status make_one_dir(const std::string& dir, std::uint32_t mode) {
  if (::mkdir(dir.c_str(), mode) == 0 || errno == EEXIST) return {};
  return fail_errno("cannot create directory " + dir);
}

}  // namespace

std::uint32_t crc32(std::string_view bytes) {
  return static_cast<std::uint32_t>(
      ::crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

Status write_state_file(const std::string& path, std::string_view body, Outlives outlives) {
  std::string temporary = path + ".tmp";
  UniqueFd fd(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_errno("cannot create " + temporary);
  std::string text = header_of(body);
  text += body;
  if (Status written = write_all(fd.get(), text, temporary); !written) {
    ::unlink(temporary.c_str());
    return written;
  }
  if (outlives == Outlives::power_cut && ::fsync(fd.get()) != 0) {
    Status failed = fail_errno("cannot write " + temporary + " to its disk");
    ::unlink(temporary.c_str());
    return failed;
  }
  std::string previous = path + ".prev";
  ::unlink(previous.c_str());
  (void)::link(path.c_str(), previous.c_str());  // without it there is just no second chance
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return fail_errno("cannot rename " + temporary + " to " + path);
  }
  return {};
}

StateFileRead read_state_file(const std::string& path) {
  StateFileRead read;
  for (const std::string& candidate : {path, path + ".prev"}) {
    Result<std::string> text = read_small_file(candidate, kStateFileBytesMax);
    if (!text && text.error().code == Errc::not_found) continue;
    Result<std::string> body = text ? parse_state_file(*text) : text;
    if (body) {
      read.body = std::move(*body);
      read.older = candidate != path;
      return read;
    }
    std::string aside = path + ".bad";
    bool moved = ::rename(candidate.c_str(), aside.c_str()) == 0;
    read.problems.push_back("cannot use state file " + candidate + ": " + body.error().text +
                            (moved ? "; set aside as " + aside : ""));
  }
  return read;
}

void remove_state_file(const std::string& path) {
  for (const char* suffix : {"", ".prev", ".tmp", ".bad"}) ::unlink((path + suffix).c_str());
}

Status LiveRecordFile::open(const std::string& path) {
  struct stat st {};
  if (fd_ && ::fstat(fd_.get(), &st) == 0 && st.st_nlink > 0) return {};
  fd_.reset(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd_) return fail_errno("cannot open " + path);
  return {};
}

Status LiveRecordFile::write(const std::string& path, std::uint64_t sequence,
                             std::string_view body) {
  KW_CHECK(body.size() <= kLiveRecordBytesMax);
  if (Status opened = open(path); !opened) return opened;
  SlotHeader header{kSlotMagic, static_cast<std::uint32_t>(body.size()), sequence, crc32(body), 0};
  iovec parts[] = {{&header, sizeof header}, {const_cast<char*>(body.data()), body.size()}};
  off_t offset = static_cast<off_t>(sequence % 2) * kSlotBytes;
  ssize_t n = ::pwritev(fd_.get(), parts, 2, offset);
  if (n < 0) return fail_errno("cannot write " + path);
  if (n != static_cast<ssize_t>(sizeof header + body.size())) {
    return fail(Errc::os, "cannot write " + path + ": only " + std::to_string(n) + " of " +
                              std::to_string(sizeof header + body.size()) + " bytes fitted");
  }
  return {};
}

std::optional<LiveRecord> read_live_record(const std::string& path, std::string* problem) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) {
    if (errno != ENOENT) *problem = Error::os(errno, "cannot open " + path).text;
    return std::nullopt;
  }
  bool anything = false;
  std::optional<LiveRecord> even = read_slot(fd.get(), 0, &anything);
  std::optional<LiveRecord> odd = read_slot(fd.get(), kSlotBytes, &anything);
  if (!even && !odd && anything)
    *problem = "cannot use " + path + ": neither record in it is whole";
  if (even && (!odd || odd->sequence < even->sequence)) return even;
  return odd;
}

std::vector<std::string> list_state_files(const std::string& dir, std::string_view suffix) {
  std::vector<std::string> names;
  DIR* stream = ::opendir(dir.c_str());
  if (stream == nullptr) return names;
  while (const dirent* entry = ::readdir(stream)) {
    std::string_view name = entry->d_name;
    if (name.size() > suffix.size() && name.ends_with(suffix)) {
      names.emplace_back(name.substr(0, name.size() - suffix.size()));
    }
  }
  ::closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

Status make_private_dir(const std::string& dir, std::uint32_t mode) {
  for (std::size_t slash = dir.find('/', 1); slash != std::string::npos;
       slash = dir.find('/', slash + 1)) {
    if (Status made = make_one_dir(dir.substr(0, slash), 0755); !made) return made;
  }
  if (Status made = make_one_dir(dir, mode); !made) return made;
  UniqueFd fd(::open(dir.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return fail_errno("cannot use " + dir + " as a directory");
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_errno("cannot look at " + dir);
  if (info.st_uid != ::geteuid()) {
    return fail(Errc::denied, "cannot use " + dir + ": it belongs to user " +
                                  std::to_string(info.st_uid) +
                                  "; give another directory or chown it");
  }
  if ((info.st_mode & 022) != 0) {
    return fail(
        Errc::denied,
        "cannot use " + dir + ": others may write to it; chmod go-w it or give another directory");
  }
  return {};
}

Result<std::string> read_small_file(const std::string& path, std::size_t limit) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return fail_errno("cannot open " + path);
  std::string text;
  std::array<char, 65536> buffer{};
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot read " + path);
    if (n == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(n));
    if (text.size() > limit) {
      return fail(Errc::invalid, "cannot read " + path + ": it is larger than " +
                                     std::to_string(limit) + " bytes");
    }
  }
}

Status append_to_file(const std::string& path, std::string_view text) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_errno("cannot open " + path);
  return write_all(fd.get(), text, path);
}

bool remove_file(const std::string& path) { return ::unlink(path.c_str()) == 0; }

Status rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return {};
  return fail_errno("cannot rename " + from + " to " + to);
}

std::string read_boot_id() {
  Result<std::string> text = read_small_file("/proc/sys/kernel/random/boot_id", 128);
  if (!text) return {};
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

}  // namespace keepwell
