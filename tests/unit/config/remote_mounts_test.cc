// Which paths lie on other machines, from a table of mounts.
#include "config/remote_mounts.h"

#include "tests/catch.h"

using namespace keepwell;

namespace {

constexpr const char* kTable =
    "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "40 21 0:40 / /mnt/nfs rw shared:9 - nfs4 server:/x rw,hard\n"
    "41 40 8:2 / /mnt/nfs/local rw - xfs /dev/sdb rw\n"
    "42 21 0:41 / /mnt/with\\040space rw master:1 - fuse.sshfs u@h:/ rw\n"
    "43 21 0:42 / /home rw - autofs map rw\n"
    "44 43 8:3 / /home rw - ext4 /dev/sdc rw\n";

}  // namespace

TEST_CASE("paths below a mount of another machine are known without a look at them") {
  RemoteMounts mounts(kTable);
  CHECK(mounts.any());
  CHECK(mounts.hold("/mnt/nfs"));
  CHECK(mounts.hold("/mnt/nfs/a/b"));
  CHECK(mounts.hold("/mnt/with space/x"));
  CHECK_FALSE(mounts.hold("/mnt"));
  CHECK_FALSE(mounts.hold("/mnt/nfs2"));
  CHECK_FALSE(mounts.hold("/mnt/nfs/local/x"));
  CHECK_FALSE(mounts.hold("/home/me"));  // a local one lies over it
}

TEST_CASE("a host without mounts of other machines has none, nor has a malformed table") {
  CHECK_FALSE(RemoteMounts("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n").any());
  CHECK_FALSE(RemoteMounts("1 0 0:1 / / rw - fuse root rw\n").any());  // then nothing is local
  for (const char* text : {"", "\n\n", " - nfs", "1 2 3 - nfs x", "1 2 3 4 /a\\04 rw - nfs"}) {
    CHECK_FALSE(RemoteMounts(text).hold("/a"));
  }
}
