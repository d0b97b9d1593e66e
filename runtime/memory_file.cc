#include "runtime/memory_file.h"

#include <sys/mman.h>
#include <unistd.h>

namespace keepwell {

Result<UniqueFd> memory_file(const std::string& text) {
  UniqueFd fd(memfd_create("keepwell-text", MFD_CLOEXEC));
  if (!fd) return fail_errno("cannot make a file in memory");
  for (std::size_t at = 0; at < text.size();) {
    ssize_t written = ::write(fd.get(), text.data() + at, text.size() - at);
    if (written < 0) return fail_errno("cannot write a file in memory");
    at += static_cast<std::size_t>(written);
  }
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

std::string memory_file_text(int fd, std::size_t limit) {
  std::string text;
  char buffer[16384];
  while (text.size() < limit) {
    const ssize_t n = ::pread(fd, buffer, sizeof buffer, static_cast<off_t>(text.size()));
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
  }
  return text;
}

}  // namespace keepwell
