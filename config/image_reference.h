// Names of images as Docker reads and shows them: redis:7 is docker.io/library/redis:7.
// Source of the grammar: github.com/distribution/reference.
#pragma once

#include <string>
#include <string_view>

#include "config/result.h"

namespace keepwell {

struct ImageReference {
  std::string domain;  // docker.io
  std::string path;    // library/redis
  std::string tag;     // 7; empty only where there is a digest
  std::string digest;  // sha256:...; may be empty

  // docker.io/library/redis
  std::string repository() const { return domain + "/" + path; }
  // docker.io/library/redis:7, docker.io/library/redis@sha256:...: one text for one image. The
  // digest decides where both are given.
  std::string full() const { return repository() + (digest.empty() ? ":" + tag : "@" + digest); }
  // redis: as docker images shows it.
  std::string familiar_repository() const;
};

// Without a tag or a digest the tag is "latest". Errc::invalid for anything that is no name.
Result<ImageReference> parse_image_reference(std::string_view text);

// Whether TEXT is "sha256:" and 64 small hex digits.
bool is_sha256(std::string_view text);

}  // namespace keepwell
