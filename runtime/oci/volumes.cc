#include "runtime/oci/volumes.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>

#include "config/remote_mounts.h"
#include "runtime/state_file.h"

namespace keepwell {

namespace {

// A directory of ours: made if need be, never one that a symbolic link stands for.
Status make_own_dir(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0) return {};
  if (errno != EEXIST) return fail_errno("cannot make " + path);
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0) return fail_errno("cannot look at " + path);
  if (!S_ISDIR(found.st_mode))
    return fail(Errc::invalid, "cannot use " + path + ": it is no directory");
  return {};
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

// ---- bind

Result<BundleMount> bind_mount(const MountSpec& mount) {
  std::string what = "cannot mount " + mount.source + " at " + mount.target;
  struct stat found {};
  if (stat(mount.source.c_str(), &found) != 0) {
    if (errno != ENOENT) return fail_errno(what);
    if (!mount.create_source)
      return fail(Errc::not_found, what + ": it does not exist, and create_host_path is false");
    std::error_code error;
    std::filesystem::create_directories(mount.source, error);
    if (error) return fail(Errc::os, what + ": it cannot be made: " + error.message());
  }
  char real[PATH_MAX];
  if (realpath(mount.source.c_str(), real) == nullptr) return fail_errno(what);
  // Somebody who may write beside it must not get the whole host for it.
  if (std::string_view(real) == "/" && mount.source != "/")
    return fail(Errc::invalid, what + ": it is a symbolic link to /");
  BundleMount made{mount.target, "bind", mount.source, {}};
  made.options.emplace_back(mount.recursive == "disabled" ? "bind" : "rbind");
  made.options.push_back(mount.propagation.empty() ? "rprivate" : mount.propagation);
  if (mount.read_only) made.options.emplace_back(mount.recursive == "readonly" ? "rro" : "ro");
  return made;
}

// ---- volume

// The driver `local` with options: what mount(8) would be told.
BundleMount driver_mount(const MountSpec& mount) {
  BundleMount made{mount.target, "none", "", {}};
  for (const auto& [key, value] : mount.driver_opts) {
    if (key == "type") made.type = value;
    if (key == "device") made.source = value;
    if (key == "o") made.options = split(value, ',');
  }
  if (mount.read_only) made.options.emplace_back("ro");
  return made;
}

Result<BundleMount> volume_mount(const MountSpec& mount, const MountPlaces& places,
                                 std::vector<VolumeCopy>& copies) {
  std::string name = mount.source.empty()
                         ? anonymous_volume_name(places.container_name, mount.target)
                         : mount.source;
  std::string volume = places.volumes_dir + "/" + name, data = volume + "/_data";
  if (mount.external && access(data.c_str(), F_OK) != 0)
    return fail(Errc::not_found, "cannot mount volume " + name + " at " + mount.target +
                                     ": it is external, and there is no " + data +
                                     "; make it, or remove external");
  for (const auto& [dir, mode] :
       {std::pair{places.volumes_dir, 0711}, {volume, 0711}, {data, 0755}})
    if (Status made = make_own_dir(dir, static_cast<mode_t>(mode)); !made)
      return fail(made.error().with("cannot mount volume " + name + " at " + mount.target));
  if (mount.copy) copies.push_back({volume, mount.target});
  BundleMount made{mount.target, "bind", data, {"rbind", "rprivate"}};
  if (mount.read_only) made.options.emplace_back("ro");
  return made;
}

// ---- tmpfs

BundleMount tmpfs_mount(const MountSpec& mount) {
  BundleMount made{mount.target, "tmpfs", "tmpfs", {"noexec", "nosuid", "nodev", "rprivate"}};
  made.options.insert(made.options.end(), mount.options.begin(), mount.options.end());
  if (mount.read_only) made.options.emplace_back("ro");
  return made;
}

// ---- secrets and configs

Result<std::string> file_content(const FileSpec& file) {
  if (file.path.empty()) return file.content;
  Result<ContainerRoot> host = ContainerRoot::open("/");
  if (!host) return fail(host.error());
  Result<ContainerFile> read = host->read(file.path, kFileSpecBytesMax);
  if (!read) return fail(read.error());
  return std::move(read->text);
}

Result<BundleMount> file_mount(const FileSpec& file, const std::string& path) {
  std::string what = std::string("cannot give ") + (file.secret ? "secret " : "config ") +
                     file.name + " to the container";
  Result<std::string> content = file_content(file);
  if (!content) return fail(content.error().with(what));
  unlink(path.c_str());
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(what);
  std::string_view rest = *content;
  while (!rest.empty()) {
    ssize_t wrote = write(fd.get(), rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail_errno(what);
    rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
  if (fchown(fd.get(), file.uid, file.gid) != 0 || fchmod(fd.get(), file.mode) != 0)
    return fail_errno(what);
  return BundleMount{file.target, "bind", path, {"rbind", "rprivate", "ro"}};
}

RemoteMounts remote_mounts() {
  constexpr std::size_t kTableBytesMax = std::size_t{16} << 20;
  return RemoteMounts(read_small_file("/proc/self/mountinfo", kTableBytesMax).value_or(""));
}

}  // namespace

std::vector<std::string> look_at_sources_argv(const ServiceSpec& spec, const std::string& lower) {
  if (!remote_mounts().any()) return {};
  std::vector<std::string> argv{"stat", "--dereference", "--format=", "--", lower};
  for (const MountSpec& mount : spec.mounts)
    if (mount.kind == MountKind::bind) argv.push_back(mount.source);
  for (const FileSpec& file : spec.files)
    if (!file.path.empty()) argv.push_back(file.path);
  return argv;
}

std::string silent_sources_text(const ServiceSpec& spec) {
  const RemoteMounts mounts = remote_mounts();
  std::string text = "what it is to be given lies on a file system that does not answer";
  for (const MountSpec& mount : spec.mounts)
    if (mount.kind == MountKind::bind && mounts.hold(mount.source)) text += ", " + mount.source;
  return text + "; look for its server, or unmount it";
}

std::string anonymous_volume_name(const std::string& container_name, const std::string& target) {
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (char c : target) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  char digits[24];
  std::snprintf(digits, sizeof digits, "_%016llx", static_cast<unsigned long long>(hash));
  return container_name + digits;
}

Result<PreparedMounts> prepare_mounts(const ServiceSpec& spec, const MountPlaces& places) {
  PreparedMounts prepared;
  for (const MountSpec& mount : spec.mounts) {
    Result<BundleMount> made = BundleMount{};
    if (mount.kind == MountKind::bind)
      made = bind_mount(mount);
    else if (mount.kind == MountKind::tmpfs)
      made = tmpfs_mount(mount);
    else if (!mount.driver_opts.empty())
      made = driver_mount(mount);
    else
      made = volume_mount(mount, places, prepared.copies);
    if (!made) return fail(made.error());
    prepared.mounts.push_back(std::move(*made));
  }
  if (spec.files.empty()) return prepared;
  if (Status made = make_own_dir(places.files_dir, 0700); !made) return fail(made.error());
  for (std::size_t i = 0; i < spec.files.size(); ++i) {
    Result<BundleMount> made =
        file_mount(spec.files[i], places.files_dir + "/" + std::to_string(i));
    if (!made) return fail(made.error());
    prepared.mounts.push_back(std::move(*made));
  }
  return prepared;
}

Result<UniqueFd> open_copy_source(const ContainerRoot& root, const VolumeCopy& copy) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  long fd = syscall(SYS_openat2, root.fd(), copy.path.c_str(), &how, sizeof how);
  if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
    return fail_errno("cannot read " + copy.path + " of the container");
  return UniqueFd(static_cast<int>(fd));
}

std::vector<std::string> copy_volume_argv(const VolumeCopy& copy) {
  // `copying` is there as long as the copy may be half made.
  const char* script =
      "set -e; cd -- \"$1\"; exec 9>>lock; flock 9; "
      "if [ -e copying ]; then find _data -mindepth 1 -delete; fi; "
      "if [ -n \"$(ls -A _data)\" ]; then exit 0; fi; "
      ": >copying; cp -a /proc/self/fd/0/. _data/; sync -f _data; rm copying";
  return {"/bin/sh", "-c", script, "keepwell-volume", copy.volume};
}

}  // namespace keepwell
