// The files of a container, read and written from outside for `docker cp`. The container's
// processes may change anything at any moment, links most of all; so:
//
//   - every path is resolved by the kernel within the container's root (openat2, RESOLVE_IN_ROOT,
//     no magic links): no link, ".." or race leads out;
//   - no mount below the root is entered (RESOLVE_NO_XDEV): a file system whose server is the
//     container's cannot hang us, and volumes, /proc and /dev are left alone;
//   - only regular files are opened, never a FIFO or a device; files are created with O_EXCL, after
//     what was there was unlinked, in a directory that is held open.
//
// Everything here is plain system calls on local files, some microseconds each.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "config/time.h"
#include "runtime/unique_fd.h"

namespace keepwell {

enum class FileKind { regular, directory, link, other };

struct FileFacts {
  FileKind kind = FileKind::other;
  std::uint32_t mode = 0;  // st_mode, kind and permissions
  std::uint32_t uid = 0, gid = 0;
  std::uint64_t bytes = 0;
  WallTime changed{};
  std::string target;  // of a link
};

class ContainerFiles {
 public:
  // The root of process PID, if it is still the one that was started at START_TICKS.
  static Result<ContainerFiles> open(int pid, std::uint64_t start_ticks);
  // DIRECTORY of the host, for a container that does not run.
  static Result<ContainerFiles> open(const std::string& directory);

  // What PATH names; a link at its end is not followed. Errc::not_found; Errc::unsupported where it
  // lies on another mount.
  Result<FileFacts> look(const std::string& path) const;

  // The whole of a regular file; Errc::invalid for anything else and for more than BYTES_MAX.
  Result<std::string> read(const std::string& path, std::uint64_t bytes_max = 1u << 20) const;

  // ---- reading: a tree, in depth-first order

  // One step of a walk: either an entry begins (FACTS set; NAME is its path below the start, "" for
  // the start itself), or BYTES of the entry that began last, or DONE.
  struct Step {
    std::string name;
    std::optional<FileFacts> facts;
    std::string_view bytes;
    bool done = false;
  };
  class Walk {
   public:
    Walk(Walk&&) noexcept;
    ~Walk();
    // A regular file gives exactly as many bytes as its entry said, whatever becomes of it
    // meanwhile. What vanishes during the walk, cannot be opened, or is another mount's, is left
    // out.
    Result<Step> next();

   private:
    friend class ContainerFiles;
    struct State;
    explicit Walk(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
  };
  Result<Walk> walk(const std::string& path) const;

  // ---- writing, below DIRECTORY

  struct NewFile {
    std::string path;  // relative to the directory; ".." does not lead out
    std::uint32_t permissions = 0644;
    std::uint32_t uid = 0, gid = 0;
    WallTime changed{};
  };
  class Writer {
   public:
    Writer(Writer&&) noexcept;
    ~Writer();
    // With KEEP_KINDS a directory is not replaced by something else, nor the other way round:
    // Errc::conflict.
    void keep_kinds(bool keep) { keep_kinds_ = keep; }

    // Parent directories that are missing are made, as root's, 0755.
    Status make_directory(const NewFile& file);
    Status make_link(const NewFile& file, const std::string& target);
    Status make_hard_link(const NewFile& file, const std::string& existing);
    Status begin_file(const NewFile& file);
    Status write(std::string_view bytes);
    Status end_file();

   private:
    friend class ContainerFiles;
    explicit Writer(UniqueFd directory);
    Result<UniqueFd> parent_of(const std::string& path, std::string& name);
    Status clear_way(int parent, const std::string& name, bool for_directory,
                     const std::string& path);
    UniqueFd directory_;
    bool keep_kinds_ = false;
    UniqueFd file_;
    NewFile writing_;
  };
  // DIRECTORY: Errc::not_found, or Errc::invalid where it is none.
  Result<Writer> writer(const std::string& directory) const;

 private:
  explicit ContainerFiles(UniqueFd root) : root_(std::move(root)) {}
  UniqueFd root_;
};

}  // namespace keepwell
