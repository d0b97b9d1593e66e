// What the mounts, secrets and configs of a service become on the host: named volumes are
// directories below the data directory, missing bind sources are made where the file says so,
// secrets and configs are written beside the bundle. The answer is a list of mounts for the
// bundle.
//
//   <data_dir>/volumes/<name>/_data/   what is in the volume
//                            /copying  there while its first content is being copied
#pragma once

#include <string>
#include <vector>

#include "config/result.h"
#include "config/spec.h"
#include "runtime/container_root.h"

namespace keepwell {

struct BundleMount {
  std::string destination;
  std::string type;
  std::string source;
  std::vector<std::string> options;

  bool operator==(const BundleMount&) const = default;
};

// A volume that may still be empty: it gets what the root file system has at PATH.
struct VolumeCopy {
  std::string volume;  // its directory, absolute
  std::string path;    // in the container
};

struct MountPlaces {
  std::string volumes_dir;
  std::string files_dir;       // for secrets and configs; what is in it is replaced
  std::string container_name;  // begins the names of anonymous volumes
};

struct PreparedMounts {
  std::vector<BundleMount> mounts;
  std::vector<VolumeCopy> copies;
};

// Makes what is missing and says what to mount. A failure names the mount; directories of volumes
// that were made until then stay, as Docker's do.
Result<PreparedMounts> prepare_mounts(const ServiceSpec& spec, const MountPlaces& places);

// The command that looks at all that a container of SPEC is given from the host, LOWER its root
// file system among it; empty where this host has no mounts of other machines, so that a plain look
// can block nobody.
std::vector<std::string> look_at_sources_argv(const ServiceSpec& spec, const std::string& lower);

// Why that command did not end.
std::string silent_sources_text(const ServiceSpec& spec);

// The name of the anonymous volume that CONTAINER_NAME has at TARGET: the same after a recreate.
std::string anonymous_volume_name(const std::string& container_name, const std::string& target);

// The directory that COPY copies from, opened within ROOT; none where the image has none there.
Result<UniqueFd> open_copy_source(const ContainerRoot& root, const VolumeCopy& copy);

// The command that fills the volume, if it is empty, from the directory that is its standard input.
// Only one of them works on a volume at a time; one that was cut short is done again.
std::vector<std::string> copy_volume_argv(const VolumeCopy& copy);

}  // namespace keepwell
