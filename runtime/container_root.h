// Reads small files of a file system that somebody else controls: an image's root, a container's
// /proc/PID/root. Such a file may be a FIFO, a device, a link that leads out, or 20 GiB of nothing.
// It is opened within its root (openat2, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), never blocks on
// opening, must be a regular file, and has a size limit.
//
// What this cannot guard against is a file on a file system whose server does not answer (FUSE,
// NFS): reads then hang. So it is for roots that no hostile process can mount in: bundles before
// their container is created. For running containers keepwell-enter looks users up inside, where
// the exec's own deadline covers it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/result.h"
#include "runtime/unique_fd.h"

namespace keepwell {

inline constexpr std::uint64_t kContainerFileBytesMax = 10u << 20;

// What a file is, so that an unchanged one need not be read again.
struct FileStamp {
  std::uint64_t device = 0, inode = 0, bytes = 0;
  std::int64_t changed_ns = 0;

  bool operator==(const FileStamp&) const = default;
};

struct ContainerFile {
  std::string text;
  FileStamp stamp;
};

class ContainerRoot {
 public:
  // DIRECTORY: a rootfs directory. Fails where it is none.
  static Result<ContainerRoot> open(const std::string& directory);

  // Reads PATH (absolute or relative, both from the root). Errc::not_found where it is missing,
  // Errc::invalid where it is no regular file or larger than BYTES_MAX, else Errc::os.
  Result<ContainerFile> read(std::string_view path,
                             std::uint64_t bytes_max = kContainerFileBytesMax) const;

  // The stamp alone.
  Result<FileStamp> stamp(std::string_view path) const;

  int fd() const { return fd_.get(); }

 private:
  explicit ContainerRoot(UniqueFd fd) : fd_(std::move(fd)) {}
  Result<UniqueFd> open_file(std::string_view path) const;

  UniqueFd fd_;
};

}  // namespace keepwell
