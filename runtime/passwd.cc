#include "runtime/passwd.h"

#include <memory>

#include "runtime/enter/user_lookup.h"

namespace keepwell {
namespace {

Slice slice(std::string_view text) { return {text.data(), text.size()}; }

Result<UserSpec> parse(std::string_view spec) {
  UserSpec parsed;
  if (parse_user_spec(slice(spec), parsed)) return parsed;
  std::string shown(spec.substr(0, 64));
  return fail(Errc::invalid, "cannot use \"" + shown +
                                 "\" as a user: write name, uid, name:group or uid:gid, with "
                                 "numbers from 0 to 4294967294");
}

void each_line(std::string_view text, UserLookup& lookup, void (UserLookup::*take)(Slice)) {
  Slice rest = slice(text);
  while (rest.size > 0) {
    Slice line = next_field(rest, '\n');
    if (line.size < kUserLineBytesMax) (lookup.*take)(line);
  }
}

}  // namespace

Status check_user_spec(std::string_view spec) {
  if (Result<UserSpec> parsed = parse(spec); !parsed) return fail(parsed.error());
  return {};
}

Result<ResolvedUser> resolve_user(std::string_view spec, std::string_view passwd_text,
                                  std::string_view group_text) {
  if (spec.empty()) spec = "0";
  Result<UserSpec> parsed = parse(spec);
  if (!parsed) return fail(parsed.error());
  auto lookup = std::make_unique<UserLookup>();  // some 18 KiB
  lookup->start(*parsed);
  each_line(passwd_text, *lookup, &UserLookup::passwd_line);
  each_line(group_text, *lookup, &UserLookup::group_line);
  std::string user(parsed->user.data, parsed->user.size);
  std::string group(parsed->group.data != nullptr ? parsed->group.data : "", parsed->group.size);
  switch (lookup->complete()) {
    case UserLookup::Verdict::found:
      break;
    case UserLookup::Verdict::unknown_user:
      return fail(Errc::not_found,
                  "unable to find user " + user + ": no matching entries in passwd file");
    case UserLookup::Verdict::unknown_group:
      return fail(Errc::not_found,
                  "unable to find group " + group + ": no matching entries in group file");
    case UserLookup::Verdict::too_many_groups:
      return fail(Errc::invalid, "cannot use user " + user + ": in too many groups");
  }
  ResolvedUser result{.uid = lookup->uid, .gid = lookup->gid, .groups = {}, .home = "/"};
  result.groups.assign(lookup->groups, lookup->groups + lookup->group_count);
  if (lookup->home_size > 0) result.home.assign(lookup->home, lookup->home_size);
  return result;
}

Status UserDatabase::refresh(const ContainerRoot& root, std::string_view path, Cached& cached) {
  Result<FileStamp> stamp = root.stamp(path);
  if (stamp && cached.valid && *stamp == cached.stamp) return {};
  cached = {};
  if (!stamp) {
    if (stamp.error().code == Errc::not_found) return {};
    return fail(stamp.error());
  }
  Result<ContainerFile> file = root.read(path);
  if (!file) return fail(file.error());
  cached = {.valid = true, .stamp = file->stamp, .text = std::move(file->text)};
  return {};
}

Result<ResolvedUser> UserDatabase::resolve(const ContainerRoot& root, std::string_view spec) {
  Result<UserSpec> parsed = parse(spec.empty() ? "0" : spec);
  if (!parsed) return fail(parsed.error());
  bool needs_passwd = !parsed->user_is_number;
  bool needs_group = parsed->group_given && !parsed->group_is_number;
  Status passwd = refresh(root, "etc/passwd", passwd_);
  if (!passwd && needs_passwd) return fail(passwd.error());
  Status group = refresh(root, "etc/group", group_);
  if (!group && needs_group) return fail(group.error());
  return resolve_user(spec, passwd_.text, group_.text);
}

}  // namespace keepwell
