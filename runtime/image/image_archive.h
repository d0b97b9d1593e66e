// What is in the file or directory that `keepwell image load` is given.
#pragma once

#include <string>
#include <vector>

#include "config/result.h"
#include "runtime/image/image_store.h"

namespace keepwell {

struct ArchivedImage {
  std::string source;  // TRANSPORT:REFERENCE
  std::string name;    // ImageReference::full(), as the archive says it; empty: it says none
};

// The images of PATH: an archive of docker save or of OCI kind, or a directory of OCI layout or of
// skopeo's own kind. REQUIRES: the store is locked (skopeo may keep a copy there meanwhile).
Result<std::vector<ArchivedImage>> images_in(const std::string& path, const ImageStore& store);

}  // namespace keepwell
