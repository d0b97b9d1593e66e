// Who the program runs as: numbers from the plan, or names looked up in the target's own files,
// here inside, where a file that blocks or never ends costs only this exec. FIFOs and devices are
// not waited for, links are followed as the container's own root has them, and at most 10 MiB are
// read.
#include <asm/stat.h>
#include <linux/openat2.h>

#include "runtime/enter/enter.h"
#include "runtime/enter/user_lookup.h"

namespace keepwell {
namespace {

UserLookup lookup;  // in .bss: pages of it that are not touched cost nothing
char buffer[kUserLineBytesMax];
char home_entry[kHomeBytesMax + 8];

// A negative errno, or the descriptor of a regular file of acceptable size.
long open_user_file(const char* path) {
  open_how how = {};
  how.flags = 04000 | 0400 | 02000000;  // O_NONBLOCK | O_NOCTTY | O_CLOEXEC
  how.resolve = RESOLVE_NO_MAGICLINKS;
  long fd = kernel(__NR_openat2, -100, address(path), address(&how), sizeof(how));
  if (fd < 0) return fd;
  struct stat info = {};
  long result = kernel(__NR_fstat, fd, address(&info));
  if (result == 0 && (info.st_mode & 0170000) != 0100000) result = -22;  // EINVAL
  if (result == 0 && static_cast<std::uint64_t>(info.st_size) > kUserFileBytesMax) result = -27;
  if (result == 0) return fd;
  close_fd(fd);
  return result;
}

// Gives every line of PATH to TAKE. 0, or a negative errno; a missing file has no lines.
long each_line(const char* path, void (UserLookup::*take)(Slice)) {
  long fd = open_user_file(path);
  if (fd == -2 /* ENOENT */) return 0;
  if (fd < 0) return fd;
  std::size_t held = 0;
  std::uint64_t total = 0;
  long result = 0;
  for (;;) {
    if (held == sizeof(buffer)) {
      result = -7;  // E2BIG: a line as long as that is no entry
      break;
    }
    long got =
        kernel(__NR_read, fd, address(buffer + held), static_cast<long>(sizeof(buffer) - held));
    if (got <= 0) {
      result = got;
      if (held > 0 && got == 0) (lookup.*take)({buffer, held});
      break;
    }
    held += static_cast<std::size_t>(got);
    total += static_cast<std::uint64_t>(got);
    if (total > kUserFileBytesMax) {
      result = -27;  // EFBIG: it grew
      break;
    }
    Slice rest{buffer, held};
    for (;;) {
      std::size_t end = 0;
      while (end < rest.size && rest.data[end] != '\n') ++end;
      if (end == rest.size) break;
      (lookup.*take)(next_field(rest, '\n'));
    }
    for (std::size_t i = 0; i < rest.size; ++i) buffer[i] = rest.data[i];
    held = rest.size;
  }
  close_fd(fd);
  return result;
}

void look_up_user(const Plan& plan) {
  UserSpec spec;
  PlanRef text = plan.header->user_spec;
  if (!parse_user_spec({plan.text(text), text.count}, spec)) {
    stop(EnterStep::user_lookup, -22 /* EINVAL */);
  }
  lookup.start(spec);
  long result = each_line("/etc/passwd", &UserLookup::passwd_line);
  // A number can do without the file; a name cannot.
  if (result < 0 && !spec.user_is_number) stop(EnterStep::user_lookup, result);
  bool group_name = spec.group_given && !spec.group_is_number;
  if (group_name || (!spec.group_given && lookup.user_found)) {
    result = each_line("/etc/group", &UserLookup::group_line);
    if (result < 0) stop(EnterStep::user_lookup, result);
  }
  switch (lookup.complete()) {
    case UserLookup::Verdict::found:
      break;
    case UserLookup::Verdict::unknown_user:
      stop(EnterStep::user_unknown, -2);
    case UserLookup::Verdict::unknown_group:
      stop(EnterStep::group_unknown, -2);
    case UserLookup::Verdict::too_many_groups:
      stop(EnterStep::user_lookup, -7 /* E2BIG */);
  }
  const auto* more = plan.at<std::uint32_t>(plan.header->groups);
  for (std::uint32_t i = 0; i < plan.header->groups.count; ++i) lookup.add_group(more[i]);
}

void add_home(const Plan& plan) {
  constexpr char kName[] = "HOME=";
  for (std::size_t i = 0; i < 5; ++i) home_entry[i] = kName[i];
  std::size_t size = lookup.home_size;
  for (std::size_t i = 0; i < size; ++i) home_entry[5 + i] = lookup.home[i];
  if (size == 0) home_entry[5 + size++] = '/';
  home_entry[5 + size] = '\0';  // a zygote's clone before may have had a longer one
  auto* env = plan.at<std::uint64_t>(plan.header->env);
  env[plan.header->env.count] = reinterpret_cast<std::uint64_t>(home_entry);
}

}  // namespace

Identity look_up_identity(const Plan& plan) {
  Identity identity{plan.header->uid, plan.header->gid, plan.at<std::uint32_t>(plan.header->groups),
                    plan.header->groups.count};
  bool home = plan.has(kPlanLookUpHome);
  if (plan.has(kPlanLookUpUser)) {
    look_up_user(plan);
    identity = {lookup.uid, lookup.gid, lookup.groups, lookup.group_count};
  } else if (home) {
    UserSpec spec;
    spec.user_is_number = true;
    spec.uid = identity.uid;
    lookup.start(spec);
    each_line("/etc/passwd", &UserLookup::passwd_line);  // any failure: "/"
  }
  if (home) add_home(plan);
  return identity;
}

}  // namespace keepwell
