// The last steps: find the program as the target user would, shut the filter, execute. A hostile
// PATH or program name costs at most 128 lookups; execve itself never opens FIFOs or devices.
#include <asm/stat.h>
#include <linux/seccomp.h>

#include "runtime/enter/enter.h"

namespace keepwell {
namespace {

constexpr long kCurrentDirectory = -100;
char candidate[8192];

struct Filter {
  unsigned short count;
  const void* instructions;
};

// 0: a regular file that we may execute; else a negative errno.
long check_program(const char* path) {
  struct stat info = {};
  long result = kernel(__NR_newfstatat, kCurrentDirectory, address(path), address(&info), 0);
  if (result < 0) return result;
  if ((info.st_mode & 0170000) == 0040000) return -21;  // EISDIR
  if ((info.st_mode & 0170000) != 0100000) return -13;  // EACCES: FIFO, socket, device
  result = kernel(__NR_faccessat2, kCurrentDirectory, address(path), 1 /* X_OK */, 0x200);
  if (result == -38 || result == -1) {  // no such call, or a filter says so
    result = (info.st_mode & 0111) != 0 ? 0 : -13;
  }
  return result;
}

const char* search_path(const Plan& plan) {
  const auto* env = plan.at<const char*>(plan.header->env);
  for (std::uint32_t i = 0; i < plan.header->env.count; ++i) {
    const char* entry = env[i];
    if (entry[0] == 'P' && entry[1] == 'A' && entry[2] == 'T' && entry[3] == 'H' &&
        entry[4] == '=') {
      return entry + 5;
    }
  }
  return "";
}

// Directories that are not absolute are passed over: what is found would depend on cwd, that is, on
// whoever can write there.
const char* find_program(const Plan& plan, const char* name) {
  unsigned long name_size = 0;
  while (name[name_size] != '\0') {
    if (name[name_size] == '/') return name;
    ++name_size;
  }
  const char* path = search_path(plan);
  unsigned long path_size = 0;
  while (path[path_size] != '\0' && path_size <= kSearchPathBytesMax) ++path_size;
  if (path_size > kSearchPathBytesMax || name_size == 0 || name_size > 255) {
    stop(EnterStep::path_lookup, -2);
  }
  for (std::uint32_t entry = 0; entry < kSearchPathEntriesMax && *path != '\0'; ++entry) {
    unsigned long size = 0;
    for (; *path != '\0' && *path != ':'; ++path) candidate[size++] = *path;
    if (*path == ':') ++path;
    if (size == 0 || candidate[0] != '/') continue;
    candidate[size++] = '/';
    for (unsigned long i = 0; i <= name_size; ++i) candidate[size + i] = name[i];
    if (check_program(candidate) == 0) return candidate;
  }
  stop(EnterStep::path_lookup, -2 /* ENOENT */);
}

}  // namespace

void attach_seccomp(const Plan& plan) {
  PlanRef program = plan.header->seccomp;
  if (program.count == 0) return;
  Filter filter{static_cast<unsigned short>(program.count), plan.at<void>(program)};
  require(EnterStep::seccomp, kernel(__NR_seccomp, SECCOMP_SET_MODE_FILTER,
                                     plan.header->seccomp_flags, address(&filter)));
}

[[noreturn]] void execute(const Plan& plan) {
  auto* argv = plan.at<const char*>(plan.header->argv);
  const char* program = find_program(plan, argv[0]);
  if (plan.has(kPlanNoNewPrivileges)) attach_seccomp(plan);
  long result = kernel(__NR_execve, address(program), address(argv),
                       address(plan.at<void>(plan.header->env)));
  // Looked at only now: most can be executed, and need no looking at.
  if (program == argv[0]) require(EnterStep::program, check_program(program));
  stop(EnterStep::exec, result);
}

}  // namespace keepwell
