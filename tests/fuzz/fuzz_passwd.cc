// User lookup over any two files and any spec: first line the spec, then the passwd text up to a
// line "--", then the group text. Besides not crashing: digits never turn into another uid, and the
// primary group is always the first of the groups.
// Links: runtime
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "config/check.h"
#include "runtime/enter/user_lookup.h"
#include "runtime/passwd.h"

using namespace keepwell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view all(reinterpret_cast<const char*>(data), size);
  std::string_view spec = all.substr(0, all.find('\n'));
  std::string_view rest = all.substr(std::min(spec.size() + 1, all.size()));
  std::size_t border = rest.find("\n--\n");
  std::string_view passwd = rest.substr(0, border);
  std::string_view group =
      border == std::string_view::npos ? std::string_view() : rest.substr(border + 4);

  bool acceptable = spec.empty() || check_user_spec(spec).has_value();
  Result<ResolvedUser> found = resolve_user(spec, passwd, group);
  if (!found) {
    KW_CHECK(!found.error().text.empty());
    return 0;
  }
  KW_CHECK(acceptable);
  KW_CHECK(found->uid <= kIdMax && found->gid <= kIdMax);
  KW_CHECK(!found->groups.empty() && found->groups[0] == found->gid);
  KW_CHECK(!found->home.empty());
  std::uint32_t number = 0;
  std::string_view user = spec.substr(0, spec.find(':'));
  if (parse_id({user.data(), user.size()}, number)) KW_CHECK(found->uid == number);
  return 0;
}
