#include "runtime/log_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

namespace keepwell {
namespace {

constexpr int kFilesMax = 1000;

// None where there is no such regular file.
LogFile open_one(const std::string& path) {
  LogFile file;
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat facts {};
  if (!fd || ::fstat(fd.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return file;
  file.fd = std::move(fd);
  file.device = facts.st_dev;
  file.inode = facts.st_ino;
  return file;
}

}  // namespace

std::vector<LogFile> open_log_files(const std::string& path) {
  std::vector<LogFile> files;
  for (int number = 0; number < kFilesMax; ++number) {
    LogFile file = open_one(number == 0 ? path : path + "." + std::to_string(number));
    // Between a rename and the new file PATH is missing for a moment.
    if (!file.fd && number > 0) break;
    const bool seen = std::any_of(files.begin(), files.end(),
                                  [&file](const LogFile& other) { return other.same_as(file); });
    if (file.fd && !seen) files.push_back(std::move(file));
  }
  std::reverse(files.begin(), files.end());
  return files;
}

Result<std::string_view> read_log(const LogFile& file, std::uint64_t offset, std::string& buffer) {
  const ssize_t n =
      ::pread(file.fd.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset));
  if (n < 0) return fail_errno("cannot read log file");
  return std::string_view(buffer.data(), static_cast<std::size_t>(n));
}

std::uint64_t log_bytes(const LogFile& file) {
  struct stat facts {};
  return ::fstat(file.fd.get(), &facts) == 0 ? static_cast<std::uint64_t>(facts.st_size) : 0;
}

bool was_rotated(const std::string& path, const LogFile& file) {
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) != 0) return true;
  return facts.st_dev != file.device || facts.st_ino != file.inode;
}

}  // namespace keepwell
