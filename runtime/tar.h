// Tar archives as docker cp sends and takes them and as the layers of images are: ustar with pax
// records for what does not fit, GNU long names and sparse files on reading. Pure, and streaming in
// both directions: a file's bytes pass through in pieces.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "config/result.h"
#include "config/time.h"

namespace keepwell {

struct TarEntry {
  enum class Kind { file, directory, link, hard_link, other };

  Kind kind = Kind::file;
  std::string name;
  std::string target;  // of a link or hard link
  std::uint32_t permissions = 0644;
  std::uint32_t uid = 0, gid = 0;
  std::uint64_t bytes = 0;           // of a file
  char type = '0';                   // when read: as the archive says it
  std::uint64_t unpacked_bytes = 0;  // when read: of a file; more than bytes where it is sparse
  WallTime changed{};
};

// The blocks that stand before ENTRY's bytes.
std::string tar_head(const TarEntry& entry);
// What fills up the last block of BYTES bytes.
std::string tar_padding(std::uint64_t bytes);
// The end of the archive.
std::string tar_end();

class TarReader {
 public:
  struct Handlers {
    std::function<Status(const TarEntry&)> on_entry;
    std::function<Status(std::string_view)> on_bytes;  // of the file that was told last
    std::function<Status()> on_file_end;               // for each file, also an empty one
  };
  explicit TarReader(Handlers handlers) : handlers_(std::move(handlers)) {}

  // Takes the next bytes of the archive, however they are split. An Error of a handler, or of the
  // archive, is final.
  Status feed(std::string_view bytes);

  // The archive's end: fails if it stops within an entry.
  Status end() const;

 private:
  Status take_block(std::string_view block);
  Status take_header(std::string_view block);
  Status take_extension();
  void skip(std::uint64_t bytes);
  Status begin(TarEntry entry, char type);
  Status read_pax(std::string_view records);

  Handlers handlers_;
  std::string block_;       // of 512 bytes, as far as it has come
  std::uint64_t left_ = 0;  // bytes of the present entry that are still to come
  std::uint64_t padding_ = 0;
  bool in_file_ = false;
  char extension_ =
      0;  // 'x', 'L', 'K': collected in text_, to apply to the next entry; 's': skipped
  std::string text_;
  std::string long_name_, long_target_;
  std::uint64_t pax_bytes_ = 0, sparse_bytes_ = 0;
  bool has_pax_bytes_ = false;
  bool more_sparse_ = false;       // a block that lists parts of a sparse file follows
  std::uint64_t sparse_left_ = 0;  // and behind the last of them so many bytes
  bool ended_ = false;
};

}  // namespace keepwell
