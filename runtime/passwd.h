// Turns "user[:group]" into numbers by a file system's own /etc/passwd and /etc/group, as `docker
// run --user` does. Used when a bundle is made (process.user of config.json needs numbers); execs
// into a running container are looked up by keepwell-enter inside it, with the same rules and the
// same parser (enter/user_lookup.h).
//
// Rules: digits alone are always a number, from 0 to 2^32-2, and never looked up as a name; a name
// starts with a letter or '_'. A number needs no entry: its group is then 0. Without an explicit
// group the user's own, and the groups that list him, are taken; with one, only that. The primary
// group is always among `groups` (CVE-2022-36109).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "runtime/container_root.h"

namespace keepwell {

struct ResolvedUser {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;  // gid first
  std::string home = "/";             // "/" where the file does not say

  bool operator==(const ResolvedUser&) const = default;
};

// SPEC "" is 0:0 with root's groups. Pure. Errc::invalid on a bad spec, Errc::not_found on a name
// that is not there.
Result<ResolvedUser> resolve_user(std::string_view spec, std::string_view passwd_text,
                                  std::string_view group_text);

// Whether SPEC could be resolved at all; for checking a request before anything is started.
Status check_user_spec(std::string_view spec);

// The same with the files of ROOT. Missing files are empty; one that is no regular file, or too
// large, fails where it is needed (a name is to be looked up) and is else taken as empty.
class UserDatabase {
 public:
  // Reads a file again only when its stamp has changed.
  Result<ResolvedUser> resolve(const ContainerRoot& root, std::string_view spec);

 private:
  struct Cached {
    bool valid = false;
    FileStamp stamp;
    std::string text;
  };
  static Status refresh(const ContainerRoot& root, std::string_view path, Cached& cached);

  Cached passwd_;
  Cached group_;
};

}  // namespace keepwell
