#include "runtime/keeper/proc_facts.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "runtime/enter/plan_format.h"
#include "runtime/unique_fd.h"

namespace keepwell {
namespace {

// include/uapi/linux/pidfd.h of Linux 6.15, which Debian 12's headers do not have yet.
struct PidfdInfo {
  std::uint64_t mask;
  std::uint64_t cgroup_id;
  std::uint32_t ids[11];
  std::int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidfdInfo);
constexpr std::uint64_t kInfoExit = 1U << 3;

}  // namespace

std::optional<ProcStat> read_proc_stat(pid_t pid) {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/stat", pid);
  UniqueFd file(open(path.data(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::array<char, 2048> text{};
  ssize_t n = read(file.get(), text.data(), text.size() - 1);
  if (n <= 0) return std::nullopt;
  char* at = std::strrchr(text.data(), ')');  // the name may hold anything, also ") 1 2"
  if (at == nullptr) return std::nullopt;
  ProcStat stat;
  char* token = std::strtok(at + 1, " \n");
  for (int field = 3; token != nullptr; ++field, token = std::strtok(nullptr, " \n")) {
    if (field == 3) stat.state = *token;
    if (field == 22) stat.start_ticks = std::strtoull(token, nullptr, 10);
    if (field == 52) stat.exit_status = static_cast<int>(std::strtol(token, nullptr, 10));
  }
  return stat;
}

pid_t made_by(pid_t helper) {
  // Given up for the moment where there is no other descriptor left: not to know is to lose it.
  static UniqueFd spare(open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/comm", helper);
  UniqueFd file(open(path.data(), O_RDONLY | O_CLOEXEC));
  if (!file && (errno == EMFILE || errno == ENFILE)) {
    spare.reset();
    file.reset(open(path.data(), O_RDONLY | O_CLOEXEC));
  }
  std::array<char, 32> name{};
  const bool known = file && read(file.get(), name.data(), name.size() - 1) > 0;
  file.reset();
  if (!spare) spare.reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!known) return 0;
  if (std::strncmp(name.data(), kClonePrefix, kClonePrefixBytes) != 0) return 0;
  return static_cast<pid_t>(std::strtol(name.data() + kClonePrefixBytes, nullptr, 10));
}

std::optional<int> exit_status_of_reaped(int pidfd) {
  PidfdInfo info{};
  info.mask = kInfoExit;
  if (ioctl(pidfd, kGetInfo, &info) != 0 || (info.mask & kInfoExit) == 0) return std::nullopt;
  return info.exit_code;
}

bool may_read_exit_status() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (syscall(SYS_capget, &header, data.data()) != 0) return false;
  return (data[0].effective & (1U << CAP_SYS_PTRACE)) != 0;
}

int open_pidfd(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

}  // namespace keepwell
