#include "runtime/oci/rootfs.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>

#include "runtime/user_namespace.h"

namespace keepwell {

namespace {

Status make_dir(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return fail_errno("cannot make " + path);
  return {};
}

// overlayfs takes its directories in one option string, in which these have a meaning.
std::string escaped(const std::string& path) {
  std::string text;
  for (char c : path) {
    if (c == ':' || c == ',' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

// The top directory of the layer is the container's "/": it looks like the tree's own.
void copy_ownership(const std::string& from, const std::string& to) {
  struct stat source {};
  if (stat(from.c_str(), &source) != 0) return;
  if (chown(to.c_str(), source.st_uid, source.st_gid) == 0)
    chmod(to.c_str(), source.st_mode & 07777);
}

}  // namespace

bool is_mount_point(const std::string& path) {
  struct statx found {};
  if (statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &found) != 0)
    return false;
  if (found.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
    return (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  struct stat self {
  }, parent{};
  return stat(path.c_str(), &self) == 0 && stat((path + "/..").c_str(), &parent) == 0 &&
         self.st_dev != parent.st_dev;
}

Status mount_rootfs(const RootfsPlace& place) {
  if (is_mount_point(place.mount_point)) return {};
  std::string layer = place.read_only ? place.mount_point + ".layer" : place.layer_dir;
  std::string upper = layer + "/upper", work = layer + "/work";
  if (place.read_only) {
    std::error_code ignored;
    std::filesystem::remove_all(layer, ignored);
  }
  bool fresh = access(upper.c_str(), F_OK) != 0;
  const std::string* dirs[] = {&layer, &upper, &work, &place.mount_point};
  for (const std::string* dir : dirs)
    if (Status made = make_dir(*dir, dir == &upper ? 0755 : 0700); !made) return made;
  if (fresh) copy_ownership(place.lower, upper);

  std::string options = "lowerdir=" + escaped(place.lower) + ",upperdir=" + escaped(upper) +
                        ",workdir=" + escaped(work) + (in_own_user_namespace() ? ",userxattr" : "");
  std::string what = "cannot mount an overlay over " + place.lower + " at " + place.mount_point;
  if (mount("overlay", place.mount_point.c_str(), "overlay", 0, options.c_str()) != 0)
    return fail_errno(what);
  struct statvfs mounted {};
  if (statvfs(place.mount_point.c_str(), &mounted) == 0 && (mounted.f_flag & ST_RDONLY)) {
    umount2(place.mount_point.c_str(), MNT_DETACH);
    return fail(Errc::unsupported,
                what + ": the file system of " + upper + " cannot hold an upper layer");
  }
  return {};
}

bool rootfs_copied(const RootfsPlace& place) { return access(place.copy().c_str(), F_OK) == 0; }

std::vector<std::string> copy_rootfs_argv(const RootfsPlace& place) {
  const char* script =
      "set -e; rm -rf -- \"$2.part\"; cp -a -- \"$1\" \"$2.part\"; mv -T -- \"$2.part\" \"$2\"";
  return {"/bin/sh", "-c", script, "keepwell-copy", place.lower, place.copy()};
}

Status unmount_rootfs(const std::string& mount_point) {
  if (!is_mount_point(mount_point)) return {};
  if (umount2(mount_point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0)
    return fail_errno("cannot unmount " + mount_point);
  return {};
}

}  // namespace keepwell
