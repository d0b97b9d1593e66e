// Looks at a layer before anything of it is unpacked. Layers are somebody else's data, and umoci
// 0.4.7 does what they say inside of the root with two exceptions that matter: it makes device
// nodes, and the whiteout of ".." removes the directory above the root. So what no builder of
// images writes is refused here by name: "..", hard links and relative links out of the root,
// device nodes but in /dev (which the caller removes), odd whiteouts and kinds, and sizes above the
// limit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/result.h"
#include "runtime/tar.h"

namespace keepwell {

class LayerCheck {
 public:
  // BYTES_MAX: of all files of all layers, unpacked; a sparse file counts with its holes.
  explicit LayerCheck(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

  // Judges one more entry of the image's layers. Errc::invalid for what must not be unpacked.
  Status take(const TarEntry& entry);

  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t entries() const { return entries_; }
  std::uint64_t devices() const { return devices_; }

 private:
  std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  std::uint64_t entries_ = 0;
  std::uint64_t devices_ = 0;
};

// The plain tar archive PATH, entry by entry. Errc::invalid for one that is broken or cut off.
Status check_layer(const std::string& path, LayerCheck& check);

}  // namespace keepwell
