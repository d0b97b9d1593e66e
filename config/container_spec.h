// What a container finds around its program: mounts, the files of secrets and configs, devices,
// and the commands that are run in it at its begin and end. Part of ServiceSpec (spec.h); the same
// rules hold: plain values, an initialiser is the default.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace keepwell {

enum class MountKind { bind, volume, tmpfs };

// One item of `volumes` or `tmpfs`.
struct MountSpec {
  MountKind kind = MountKind::bind;
  std::string target;  // absolute path inside, without "." and ".."
  bool read_only = false;

  // bind: absolute path on the host. volume: its name, which is its directory's under
  // <data_dir>/volumes; empty: an anonymous one of this container.
  std::string source;

  bool create_source = true;  // bind: a directory is made where nothing is
  std::string propagation;    // bind: rslave, rshared...; empty: rprivate
  std::string recursive;      // bind: "", disabled, writable or readonly, as bind.recursive says

  std::string volume_key;  // volume: its key in the file
  bool external = false;   // volume: must be there already
  bool copy = true;        // volume: an empty one gets what the image has at `target`
  // volume: of the driver `local`: type, o, device. Empty: a directory of ours.
  std::vector<std::pair<std::string, std::string>> driver_opts;

  std::vector<std::string> options;  // tmpfs: size=64m, mode=1777, exec... over noexec,nosuid,nodev

  bool operator==(const MountSpec&) const = default;
};

// A secret or a config: a file in the container, made anew at each start.
struct FileSpec {
  bool secret = true;  // else a config
  std::string name;    // its key in the file
  std::string target;  // absolute path inside
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t mode = 0444;
  std::string path;      // the file on the host that is read; empty: `content` is it
  std::string variable;  // where `content` came from a variable: its name
  std::string content;

  bool operator==(const FileSpec&) const = default;
};

// The largest secret or config: all of it is read into memory when the container starts.
inline constexpr std::size_t kFileSpecBytesMax = std::size_t{1} << 20;

// A device of the host, or a directory of them.
struct DeviceSpec {
  std::string source;
  std::string target;
  std::string permissions = "rwm";

  bool operator==(const DeviceSpec&) const = default;
};

// A command that is run in the container: after its start, or before its stop.
struct HookSpec {
  std::vector<std::string> command;
  std::string user;  // empty: the service's
  bool privileged = false;
  std::string working_dir;                                       // empty: the service's
  std::vector<std::pair<std::string, std::string>> environment;  // over the service's

  bool operator==(const HookSpec&) const = default;
};

}  // namespace keepwell
