#include "config/remote_mounts.h"

#include <algorithm>

namespace keepwell {

namespace {

bool is_remote_type(std::string_view type) {
  constexpr std::string_view kTypes[] = {
      "nfs", "nfs4", "cifs", "smb3",    "smbfs",  "ceph",     "glusterfs", "lustre", "beegfs",
      "afs", "coda", "fuse", "fuseblk", "autofs", "orangefs", "pvfs2",     "davfs"};
  return std::find(std::begin(kTypes), std::end(kTypes), type) != std::end(kTypes) ||
         type.starts_with("fuse.");
}

// The word number N of LINE, from 0; empty where there are fewer.
std::string_view word_of(std::string_view line, int n) {
  while (true) {
    const std::size_t end = std::min(line.find(' '), line.size());
    if (n-- == 0) return line.substr(0, end);
    if (end == line.size()) return {};
    line.remove_prefix(end + 1);
  }
}

// Spaces and the like stand there as \040.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '\\' && i + 3 < text.size();
    if (!escape) {
      out += text[i];
      continue;
    }
    int value = 0;
    for (int k = 1; k <= 3; ++k) value = value * 8 + (text[i + static_cast<std::size_t>(k)] - '0');
    out += static_cast<char>(value);
    i += 3;
  }
  return out;
}

}  // namespace

RemoteMounts::RemoteMounts(std::string_view mountinfo) {
  while (!mountinfo.empty()) {
    const std::size_t end = std::min(mountinfo.find('\n'), mountinfo.size());
    const std::string_view line = mountinfo.substr(0, end);
    mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
    const std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    constexpr int kPoint = 4;
    std::string point = unescape(word_of(line, kPoint));
    if (!point.starts_with('/')) continue;
    const bool remote = point != "/" && is_remote_type(word_of(line.substr(dash + 3), 0));
    any_ = any_ || remote;
    mounts_.emplace_back(std::move(point), remote);
  }
}

bool RemoteMounts::hold(std::string_view path) const {
  std::size_t longest = 0;
  bool remote = false;
  for (const auto& [point, is_remote] : mounts_) {
    const bool below =
        path.starts_with(point) && (path.size() == point.size() || path[point.size()] == '/');
    // Of two at one place the later lies over the earlier.
    if (!below || point.size() < longest) continue;
    longest = point.size();
    remote = is_remote;
  }
  return remote;
}

}  // namespace keepwell
