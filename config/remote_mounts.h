// Which paths lie on file systems of other machines or of other programs (NFS, CIFS, FUSE...). Told
// from the table of mounts without touching them: where the server is gone, whoever as much as
// looks at a path waits for ever.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace keepwell {

class RemoteMounts {
 public:
  // MOUNTINFO as /proc/self/mountinfo has it. What is mounted at / counts as this machine's own.
  explicit RemoteMounts(std::string_view mountinfo);

  bool any() const { return any_; }

  // Whether PATH, absolute and without "." and "..", lies on one. A symbolic link that leads there
  // is not followed.
  bool hold(std::string_view path) const;

 private:
  std::vector<std::pair<std::string, bool>> mounts_;  // where, and whether it is remote
  bool any_ = false;
};

}  // namespace keepwell
