// Brings an image into the store:
//
//   skopeo inspect (what is it; is it here already; is it for this machine)
//   -> skopeo copy to a directory, layers decompressed   (the config stays as it came, with
//   Docker's
//      Healthcheck, which a conversion to OCI would drop, and its digest is Docker's image id)
//   -> layer_check -> umoci raw unpack -> ImageStore::put
//
// The tools run without the right to make devices or to gain rights, with a limit on file size, and
// die with this process. Blocking: for the command line.
#pragma once

#include <functional>
#include <string>

#include "config/result.h"
#include "config/time.h"
#include "runtime/image/image_store.h"

namespace keepwell {

struct ImageOrder {
  std::string name;      // ImageReference::full(); empty: the image gets no name
  std::string source;    // TRANSPORT:REFERENCE
  std::string platform;  // os/architecture[/variant]; empty: this machine's
  std::int64_t bytes_max = std::int64_t{20} << 30;
};

struct LoadStep {
  enum class Stage { waiting, asking, fetching, checking, unpacking, ready };
  Stage stage = Stage::asking;
  std::uint64_t bytes = 0;        // so far, in fetching and unpacking
  std::uint64_t bytes_total = 0;  // 0: not known
};
using OnLoadStep = std::function<void(const LoadStep&)>;

// Loads ORDER's image, or finds it there already, and gives it its name. After a failure the store
// is as it was. Errc::timed_out: the registry is silent.
Result<StoredImage> load_image(const ImageStore& store, const ImageStore::Lock& lock,
                               const ImageOrder& order, const OnLoadStep& on_step);

// The digest of the manifest that SOURCE has now: tells whether it has changed. REQUIRES: the store
// is locked (skopeo may keep a copy there meanwhile). Errc::timed_out: the registry is silent.
Result<std::string> source_digest(const ImageStore& store, const std::string& source,
                                  const std::string& platform);

// linux/amd64, as images call this machine.
std::string machine_platform();

}  // namespace keepwell
