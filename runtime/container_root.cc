#include "runtime/container_root.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace keepwell {
namespace {

FileStamp stamp_of(const struct stat& info) {
  return {.device = info.st_dev,
          .inode = info.st_ino,
          .bytes = static_cast<std::uint64_t>(info.st_size),
          .changed_ns = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec};
}

std::string opening(std::string_view path) {
  return "cannot read " + std::string(path) + " of the container";
}

}  // namespace

Result<ContainerRoot> ContainerRoot::open(const std::string& directory) {
  UniqueFd fd(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno("cannot open the root directory " + directory);
  return ContainerRoot(std::move(fd));
}

Result<UniqueFd> ContainerRoot::open_file(std::string_view path) const {
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  std::string name(path);
  long fd = ::syscall(SYS_openat2, fd_.get(), name.c_str(), &how, sizeof(how));
  if (fd < 0) return fail_errno(opening(path));
  UniqueFd file(static_cast<int>(fd));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return fail_errno(opening(path));
  if (!S_ISREG(info.st_mode)) return fail(Errc::invalid, opening(path) + ": not a regular file");
  return file;
}

Result<FileStamp> ContainerRoot::stamp(std::string_view path) const {
  Result<UniqueFd> file = open_file(path);
  if (!file) return fail(file.error());
  struct stat info {};
  if (::fstat(file->get(), &info) != 0) return fail_errno(opening(path));
  return stamp_of(info);
}

Result<ContainerFile> ContainerRoot::read(std::string_view path, std::uint64_t bytes_max) const {
  Result<UniqueFd> file = open_file(path);
  if (!file) return fail(file.error());
  struct stat info {};
  if (::fstat(file->get(), &info) != 0) return fail_errno(opening(path));
  auto too_large = [&] {
    return fail(Errc::invalid,
                opening(path) + ": larger than " + std::to_string(bytes_max) + " bytes");
  };
  if (static_cast<std::uint64_t>(info.st_size) > bytes_max) return too_large();
  ContainerFile result{.text = {}, .stamp = stamp_of(info)};
  char chunk[16384];
  for (;;) {
    ssize_t got = ::read(file->get(), chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(opening(path));
    if (got == 0) return result;
    result.text.append(chunk, static_cast<std::size_t>(got));
    if (result.text.size() > bytes_max) return too_large();  // it grew, or said 0 as /proc does
  }
}

}  // namespace keepwell
