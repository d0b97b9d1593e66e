// The images of one data directory:
//
//   DATA/images/lock               held while something is changed (flock)
//   DATA/images/names.json         which name means which image (state_file.h)
//   DATA/images/HEX/rootfs/        the unpacked image, never written to again: containers have it
//   as DATA/images/HEX/config.json    the lower layer of an overlay; its config as it came, whose
//   DATA/images/HEX/record.json    SHA-256 is HEX, the image's id; and where it came from
//   DATA/images/tmp.NUMBER/        a load that is under way, or was cut short
//
// An image appears by rename, whole and on its disk, or not at all. Reading needs no lock.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/image_config.h"
#include "config/image_reference.h"
#include "config/result.h"
#include "config/time.h"
#include "runtime/unique_fd.h"

namespace keepwell {

// What one name means.
struct ImageName {
  std::string name;    // ImageReference::full()
  std::string id;      // sha256:...
  std::string digest;  // sha256:... of the manifest (or list) at its source
  std::string source;  // TRANSPORT:REFERENCE
  WallTime checked{};  // when the source was last asked
};

struct StoredImage {
  std::string id;  // sha256:...
  std::string rootfs;
  std::uint64_t bytes = 0;  // of its files
  std::uint64_t entries = 0;
  WallTime loaded{};
  std::string source;
  std::string config_text;  // as it came
  ImageConfig config;
  std::vector<ImageName> names;  // none: nothing refers to it any more
};

class ImageStore {
 public:
  explicit ImageStore(const std::string& data_dir) : dir_(data_dir + "/images") {}

  const std::string& dir() const { return dir_; }

  // All whole images, newest first. What cannot be read is told in PROBLEMS and left out.
  std::vector<StoredImage> list(std::vector<std::string>* problems = nullptr) const;

  // By name (redis, redis:7), by id with or without sha256:, or by the beginning of an id (at least
  // four digits). Errc::not_found; Errc::conflict where a beginning fits several.
  Result<StoredImage> find(const std::string& name) const;

  // The image that NAME (ImageReference::full()) means, and what is noted of the name.
  struct Named {
    ImageName name;
    StoredImage image;
  };
  std::optional<Named> find_name(const std::string& name) const;
  std::optional<StoredImage> find_id(const std::string& id) const;

  // ---- changes

  class Lock {
   public:
    explicit Lock(UniqueFd fd) : fd_(std::move(fd)) {}

   private:
    UniqueFd fd_;
  };
  // Makes the directory and waits for whoever else changes it; ON_WAIT is called first, with who
  // that is. Then removes what loads that were cut short left behind.
  Result<Lock> lock(const std::function<void(const std::string& holder)>& on_wait) const;
  // The same without waiting: nothing is done while somebody else holds the lock, or where there
  // are no images. For the start of keepwell.
  void clean_if_idle() const;

  // An empty directory for a load. It is removed with the next lock unless put() took it.
  Result<std::string> make_temporary(const Lock& lock) const;
  // Makes the image in TEMPORARY (rootfs/ and config.json are there) part of the store.
  Status put(const Lock& lock, const std::string& temporary, const StoredImage& image) const;
  // From now on NAME.name means NAME.id.
  Status set_name(const Lock& lock, const ImageName& name) const;
  Status remove_name(const Lock& lock, const std::string& name) const;
  // With its names. REQUIRES: nobody uses it (images_in_use).
  Status remove(const Lock& lock, const std::string& id) const;

 private:
  Result<std::vector<ImageName>> read_names() const;
  Status write_names(const std::vector<ImageName>& names) const;
  std::optional<StoredImage> read_image(const std::string& hex,
                                        std::vector<std::string>* problems) const;
  void clean() const;

  std::string dir_;
};

// The ids of images below DIR that are mounted somewhere as a lower layer.
std::vector<std::string> images_mounted(const ImageStore& store);

}  // namespace keepwell
