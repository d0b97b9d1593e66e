// What /etc/passwd and /etc/group say about "user[:group]": a parser that needs no libc and no
// memory of its own, so that keepwell-enter runs it inside the container and the agent (passwd.cc)
// runs it over a bundle's files. It is fed line by line and never fails on what a line contains:
// a line that is not well formed is passed over, as if it were not there.
//
// The files are the container's, that is, an attacker's. So a number that does not parse makes its
// line invalid (it is never taken for 0), digits in a spec are never looked up as a name, and the
// first matching line wins.
#pragma once

#include <cstddef>
#include <cstdint>

namespace keepwell {

struct Slice {
  const char* data = nullptr;
  std::size_t size = 0;
};

inline constexpr std::uint32_t kIdMax = 0xfffffffe;  // (uid_t)-1 means "unchanged" to the kernel
inline constexpr std::size_t kUserNameBytesMax = 256;
inline constexpr std::size_t kHomeBytesMax = 1024;
inline constexpr std::size_t kUserLineBytesMax = 64 * 1024;
inline constexpr std::uint64_t kUserFileBytesMax = 10u << 20;
inline constexpr std::uint32_t kGroupsMax = 4096;

inline bool equal(Slice a, Slice b) {
  if (a.size != b.size) return false;
  for (std::size_t i = 0; i < a.size; ++i) {
    if (a.data[i] != b.data[i]) return false;
  }
  return true;
}

inline bool all_digits(Slice text) {
  for (std::size_t i = 0; i < text.size; ++i) {
    if (text.data[i] < '0' || text.data[i] > '9') return false;
  }
  return text.size > 0;
}

// Decimal digits only, no sign, no space, at most kIdMax; leading zeros are allowed.
inline bool parse_id(Slice text, std::uint32_t& id) {
  if (!all_digits(text)) return false;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < text.size; ++i) {
    value = value * 10 + static_cast<std::uint64_t>(text.data[i] - '0');
    if (value > kIdMax) return false;
  }
  id = static_cast<std::uint32_t>(value);
  return true;
}

// A name that a spec may ask for: a letter or '_', then letters, digits and "_.-@\"; '$' at the
// end.
inline bool valid_name(Slice text) {
  if (text.size == 0 || text.size > kUserNameBytesMax) return false;
  for (std::size_t i = 0; i < text.size; ++i) {
    char c = text.data[i];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    bool later = (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '@' || c == '\\';
    bool last = c == '$' && i + 1 == text.size;
    if (!letter && (i == 0 || !(later || last))) return false;
  }
  return true;
}

// Cuts the next field off the front of REST, at SEPARATOR or at the end.
inline Slice next_field(Slice& rest, char separator) {
  std::size_t end = 0;
  while (end < rest.size && rest.data[end] != separator) ++end;
  Slice field{rest.data, end};
  std::size_t skip = end < rest.size ? end + 1 : end;
  rest = {rest.data + skip, rest.size - skip};
  return field;
}

struct UserSpec {
  Slice user;  // the text given; points into it
  Slice group;
  bool user_is_number = false;
  bool group_given = false;
  bool group_is_number = false;
  std::uint32_t uid = 0;  // where they are numbers
  std::uint32_t gid = 0;
};

// false: not a spec. Neither side of a colon may be empty.
inline bool parse_user_spec(Slice text, UserSpec& spec) {
  spec = {};
  std::size_t colon = 0;
  while (colon < text.size && text.data[colon] != ':') ++colon;
  spec.user = {text.data, colon};
  spec.user_is_number = all_digits(spec.user);
  if (!(spec.user_is_number ? parse_id(spec.user, spec.uid) : valid_name(spec.user))) return false;
  if (colon == text.size) return true;
  spec.group_given = true;
  spec.group = {text.data + colon + 1, text.size - colon - 1};
  spec.group_is_number = all_digits(spec.group);
  return spec.group_is_number ? parse_id(spec.group, spec.gid) : valid_name(spec.group);
}

// What was found. After start(), which forgets what was found before, give it every line of the
// passwd file, then every line of the group file, then ask complete().
struct UserLookup {
  UserSpec want;
  bool user_found = false;
  bool group_found = false;
  bool too_many_groups = false;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t group_count = 0;
  std::size_t name_size = 0;
  std::size_t home_size = 0;  // 0: none
  char name[kUserNameBytesMax] = {};
  char home[kHomeBytesMax] = {};
  std::uint32_t groups[kGroupsMax] = {};

  void start(const UserSpec& spec) {
    want = spec;
    user_found = group_found = too_many_groups = false;
    uid = spec.user_is_number ? spec.uid : 0;
    gid = spec.group_is_number ? spec.gid : 0;
    group_count = 0;
    name_size = home_size = 0;
  }

  void passwd_line(Slice line) {
    if (user_found) return;
    Slice entry_name = next_field(line, ':');
    next_field(line, ':');
    std::uint32_t entry_uid = 0;
    std::uint32_t entry_gid = 0;
    if (!parse_id(next_field(line, ':'), entry_uid)) return;
    if (!parse_id(next_field(line, ':'), entry_gid)) return;
    next_field(line, ':');
    Slice entry_home = next_field(line, ':');
    if (entry_name.size == 0 || entry_name.size > kUserNameBytesMax) return;
    char first = entry_name.data[0];
    if (first == '#' || first == '+' || first == '-') return;  // comments, NIS
    if (want.user_is_number ? entry_uid != want.uid : !equal(entry_name, want.user)) return;
    user_found = true;
    uid = entry_uid;
    if (!want.group_given) gid = entry_gid;
    name_size = entry_name.size;
    for (std::size_t i = 0; i < name_size; ++i) name[i] = entry_name.data[i];
    if (entry_home.size == 0 || entry_home.size >= kHomeBytesMax) return;
    for (std::size_t i = 0; i < entry_home.size; ++i) {
      if (entry_home.data[i] == '\0') return;  // would be cut there
      home[i] = entry_home.data[i];
    }
    home_size = entry_home.size;
  }

  void group_line(Slice line) {
    Slice entry_name = next_field(line, ':');
    next_field(line, ':');
    std::uint32_t entry_gid = 0;
    if (!parse_id(next_field(line, ':'), entry_gid)) return;
    if (entry_name.size == 0) return;
    if (want.group_given) {
      if (want.group_is_number || group_found || !equal(entry_name, want.group)) return;
      group_found = true;
      gid = entry_gid;
      return;
    }
    if (!user_found) return;
    while (line.size > 0) {
      if (equal(next_field(line, ','), {name, name_size})) {
        add_group(entry_gid);
        return;
      }
    }
  }

  void add_group(std::uint32_t id) {
    for (std::uint32_t i = 0; i < group_count; ++i) {
      if (groups[i] == id) return;
    }
    if (group_count == kGroupsMax) {
      too_many_groups = true;
      return;
    }
    groups[group_count++] = id;
  }

  enum class Verdict { found, unknown_user, unknown_group, too_many_groups };

  Verdict complete() {
    if (!want.user_is_number && !user_found) return Verdict::unknown_user;
    if (want.group_given && !want.group_is_number && !group_found) return Verdict::unknown_group;
    add_group(gid);
    std::uint32_t at = 0;  // gid comes first
    while (at < group_count && groups[at] != gid) ++at;
    for (; at > 0 && at < group_count; --at) groups[at] = groups[at - 1];
    if (group_count > 0) groups[0] = gid;
    return too_many_groups ? Verdict::too_many_groups : Verdict::found;
  }
};

}  // namespace keepwell
