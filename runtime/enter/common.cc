// Checking the plan, reporting, and the few functions that both halves need.
#include <asm/stat.h>
#include <linux/sched.h>

#include "runtime/enter/enter.h"

namespace keepwell {
namespace {

constexpr std::uint64_t kKnownFlags = (std::uint64_t{kPlanFlagEnd} - 1);
constexpr long kSealsNeeded = 0x2 | 0x4 | 0x8;  // shrink, grow, write

#if defined(__x86_64__)
constexpr unsigned long kPageBytesMax = 4096;
#else
constexpr unsigned long kPageBytesMax = 65536;
#endif

// Reading a few pages is cheaper than mapping them, and they need not be unmapped twice. Aligned to
// a page of any kernel, as is with it all that can be written (the program has no initialised
// data): at execve the kernel then maps zero pages and has no part of a page to clear, which would
// cost a fault, and which kernels before 6.7 cannot do in a segment without file contents.
alignas(kPageBytesMax) char small_plan[32 * 1024];

struct Checker {
  const char* base;
  std::uint64_t size;

  [[noreturn]] static void refuse() { stop(EnterStep::plan, -22 /* EINVAL */); }

  void range(PlanRef ref, std::uint64_t element, std::uint64_t extra, std::uint64_t align) const {
    if (ref.offset == 0) {
      if (ref.count != 0) refuse();
      return;
    }
    std::uint64_t bytes = (std::uint64_t{ref.count} + extra) * element;
    if (ref.offset < sizeof(PlanHeader) || ref.offset % align != 0) refuse();
    if (ref.offset > size || bytes > size - ref.offset) refuse();
  }
  void text(PlanRef ref) const {
    range(ref, 1, 1, 1);
    if (ref.offset != 0 && base[ref.offset + ref.count] != '\0') refuse();
  }
  void fd(std::uint32_t number) const {
    if (number != kNoFd && (number < kPlanFirstFreeFd || number > 65535)) refuse();
  }
};

// Offsets into pointers. The file's last byte is NUL, so every offset within it names a string.
void relocate(const Plan& plan, const Checker& check, PlanRef ref, std::uint32_t spare) {
  check.range(ref, sizeof(std::uint64_t), spare, 8);
  if (ref.offset == 0) Checker::refuse();
  auto* entries = plan.at<std::uint64_t>(ref);
  for (std::uint32_t i = 0; i < ref.count; ++i) {
    if (entries[i] < sizeof(PlanHeader) || entries[i] >= check.size) Checker::refuse();
    entries[i] += reinterpret_cast<std::uint64_t>(plan.base);
  }
  for (std::uint32_t i = 0; i < spare; ++i) entries[ref.count + i] = 0;
}

// What its clones need of the descriptors lies together, so that closing the rest is one call.
void check_zygote(const Plan& plan) {
  const PlanHeader& header = *plan.header;
  if (!plan.has(kPlanZygote)) {
    if (header.first_shared_cgroup != 0 || header.leaf_directory != kNoFd) Checker::refuse();
    return;
  }
  const std::uint64_t spaces = header.namespaces;
  if ((spaces & CLONE_NEWPID) == 0 || (spaces & CLONE_NEWUSER) != 0 || plan.has(kPlanTty) ||
      header.first_shared_cgroup > header.cgroup_fds.count ||
      header.target_pidfd != kPlanFirstFreeFd || header.leaf_directory != kPlanFirstFreeFd + 1 ||
      header.clone_status != kPlanFirstFreeFd + 2) {
    Checker::refuse();
  }
  const auto* fds = plan.at<std::uint32_t>(header.cgroup_fds);
  for (std::uint32_t i = 0; i < header.first_shared_cgroup; ++i) {
    if (fds[i] != header.clone_status + 1 + i) Checker::refuse();
  }
}

}  // namespace

[[noreturn]] void stop(EnterStep step, long result) {
  PlanFailure failure{static_cast<std::uint32_t>(step), static_cast<std::int32_t>(-result)};
  kernel(__NR_write, kStatusFd, address(&failure), sizeof(failure));
  exit_process(step == EnterStep::path_lookup ? 127 : 126);
}

long write_file(const char* path, const char* text, unsigned long size) {
  long fd = open_file(path, 01 | 02000000 /* O_WRONLY | O_CLOEXEC */);
  if (fd < 0) return fd;
  long written = kernel(__NR_write, fd, address(text), static_cast<long>(size));
  close_fd(fd);
  if (written < 0) return written;
  return static_cast<unsigned long>(written) == size ? 0 : -5 /* EIO */;
}

long clone_in_our_memory(void (*entry)(), int* running, std::uint32_t cgroup) {
  alignas(16) static char stack[64 * 1024];
  clone_args args = {};
  args.flags = CLONE_PARENT | CLONE_VM;
  args.stack = reinterpret_cast<std::uint64_t>(stack);
  args.stack_size = sizeof(stack);
  if (running != nullptr) {
    *running = 1;
    args.flags |= CLONE_CHILD_CLEARTID;
    args.child_tid = reinterpret_cast<std::uint64_t>(running);
  }
  if (cgroup != kNoFd) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = cgroup;
  }
  long pid = clone_to(&args, sizeof(args), entry);
  if (pid < 0 && running != nullptr) *running = 0;
  return pid;
}

void wait_until_zero(const int* word, int value) {
  while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != 0) {
    kernel(__NR_futex, address(word), 0 /* FUTEX_WAIT */, value);
  }
}

bool is_pipe(int fd) {
  struct stat info = {};
  return kernel(__NR_fstat, fd, address(&info)) == 0 && (info.st_mode & 0170000) == 0010000;
}

Plan load_plan() {
  long size = kernel(__NR_lseek, kPlanFd, 0, 2 /* SEEK_END */);
  if (size < static_cast<long>(sizeof(PlanHeader)) || size > kPlanBytesMax) Checker::refuse();
  long seals = kernel(__NR_fcntl, kPlanFd, 1034 /* F_GET_SEALS */);
  if (seals < 0 || (seals & kSealsNeeded) != kSealsNeeded) Checker::refuse();
  char* base = small_plan;
  if (size <= static_cast<long>(sizeof(small_plan))) {
    long got = kernel(__NR_pread64, kPlanFd, address(small_plan), size, 0);
    if (got != size) stop(EnterStep::plan, got < 0 ? got : -5 /* EIO */);
  } else {
    long mapped = kernel(__NR_mmap, 0, size, 3 /* read, write */,
                         0x2 | 0x8000 /* MAP_PRIVATE | MAP_POPULATE */, kPlanFd, 0);
    if (mapped < 0 && mapped > -4096) stop(EnterStep::plan, mapped);
    base = reinterpret_cast<char*>(mapped);
  }

  Plan plan;
  plan.base = base;
  plan.header = reinterpret_cast<PlanHeader*>(base);
  const PlanHeader& header = *plan.header;
  Checker check{plan.base, static_cast<std::uint64_t>(size)};
  if (header.magic != kPlanMagic || header.version != kPlanVersion ||
      header.header_bytes != sizeof(PlanHeader) ||
      header.total_bytes != static_cast<std::uint64_t>(size) ||
      (header.flags & ~kKnownFlags) != 0 || plan.base[size - 1] != '\0') {
    Checker::refuse();
  }
  check.range(header.rlimits, sizeof(PlanRlimit), 0, 8);
  check.range(header.cgroup_fds, sizeof(std::uint32_t), 0, 4);
  check.range(header.groups, sizeof(std::uint32_t), 0, 4);
  check.range(header.seccomp, 8, 0, 8);
  check.text(header.label_exec);
  check.text(header.label_apparmor);
  check.text(header.keyring_name);
  check.text(header.user_spec);
  check.text(header.cwd);
  for (std::uint32_t i = 0; i < header.cgroup_fds.count; ++i) {
    check.fd(plan.at<std::uint32_t>(header.cgroup_fds)[i]);
  }
  check.fd(header.target_pidfd);
  check.fd(header.tty_socket);
  check.fd(header.target_root);
  check.fd(header.leaf_directory);
  check.fd(header.clone_status);
  if (plan.has(kPlanTty) && header.tty_socket == kNoFd) Checker::refuse();
  check_zygote(plan);
  if (header.seccomp.count > 4096 || header.argv.count == 0 || header.cwd.offset == 0) {
    Checker::refuse();
  }
  relocate(plan, check, header.argv, 1);
  relocate(plan, check, header.env, kPlanEnvSpare);
  return plan;
}

}  // namespace keepwell
