// The root file system of a container: the tree that the file names, read-only, under a writable
// layer of the container's own (overlayfs). The layer is kept while the container exists, over
// restarts too, and is new when it is recreated. A read-only container has none: what the runtime
// needs to make mount points in is beside the mount point, and new with each start. Where no
// overlay can be made (the data directory is itself on one, or the kernel has none) the caller
// copies the tree instead.
#pragma once

#include <string>
#include <vector>

#include "config/result.h"

namespace keepwell {

struct RootfsPlace {
  std::string lower;        // x-keepwell.rootfs
  std::string layer_dir;    // of this container, in the data directory: upper/, work/, or copy/
  std::string mount_point;  // in the run directory
  bool read_only = false;   // the runtime makes it so

  std::string copy() const { return layer_dir + "/copy"; }
};

// Mounts, or finds mounted, PLACE.mount_point. Failure leaves nothing mounted; the text says why
// overlayfs refused.
Status mount_rootfs(const RootfsPlace& place);

// Whether an earlier start fell back to a copy, which is complete.
bool rootfs_copied(const RootfsPlace& place);

// The command that makes the copy, whole or not at all.
std::vector<std::string> copy_rootfs_argv(const RootfsPlace& place);

// Whether something is mounted exactly at PATH.
bool is_mount_point(const std::string& path);

// Lazily: what is still in use goes when its last user does. No error where nothing is mounted.
Status unmount_rootfs(const std::string& mount_point);

}  // namespace keepwell
