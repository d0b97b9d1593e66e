// A terminal made inside the target: the master goes to the caller, the slave becomes 0-2 and the
// controlling terminal. Nothing that a container puts at /dev/pts fools it: the directory is
// reached without links and must be a devpts, ptmx must lie in that same mount, and the slave is
// asked from the master (TIOCGPTPEER) instead of being opened by name.
#include <asm/ioctls.h>
#include <asm/statfs.h>
#include <linux/openat2.h>

#include "runtime/enter/enter.h"

namespace keepwell {
namespace {

constexpr long kReadWriteNoTty = 02 | 0400;
constexpr long kCloseOnExec = 02000000;
constexpr long kDevptsMagic = 0x1cd1;

struct Vector {
  const void* base;
  unsigned long size;
};
struct Message {
  const void* name;
  int name_size;
  Vector* parts;
  unsigned long part_count;
  const void* control;
  unsigned long control_size;
  int flags;
};
struct Rights {
  unsigned long size;
  int level;
  int type;
  int fd;
  int padding;
};
struct WindowSize {
  unsigned short rows, columns, x, y;
};

long open_at(long directory, const char* path, long flags, unsigned long long resolve) {
  open_how how = {};
  how.flags = static_cast<unsigned long long>(flags);
  how.resolve = resolve;
  return kernel(__NR_openat2, directory, address(path), address(&how), sizeof(how));
}

long open_master(const Plan& plan) {
  if (plan.header->namespaces == 0) return open_file("/dev/ptmx", kReadWriteNoTty | kCloseOnExec);
  long directory = open_at(-100, "/dev/pts", 010000000 | kCloseOnExec /* O_PATH */,
                           RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
  if (directory < 0) return directory;
  struct statfs info = {};
  long result = kernel(__NR_fstatfs, directory, address(&info));
  if (result == 0 && info.f_type != kDevptsMagic) result = -1;  // EPERM
  if (result == 0) {
    result = open_at(directory, "ptmx", kReadWriteNoTty | kCloseOnExec,
                     RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
  }
  close_fd(directory);
  return result;
}

void send_master(long socket, long master) {
  char byte = 0;
  Vector part{&byte, 1};
  Rights rights{sizeof(Rights) - sizeof(int), 1 /* SOL_SOCKET */, 1 /* SCM_RIGHTS */,
                static_cast<int>(master), 0};
  Message message{nullptr, 0, &part, 1, &rights, sizeof(rights), 0};
  require(EnterStep::tty, kernel(__NR_sendmsg, socket, address(&message), 0x4000 /* NOSIGNAL */));
}

}  // namespace

void open_terminal(const Plan& plan, std::uint32_t uid) {
  long socket = plan.header->tty_socket;
  long master = open_master(plan);
  require(EnterStep::tty, master);
  int unlocked = 0;
  require(EnterStep::tty, kernel(__NR_ioctl, master, TIOCSPTLCK, address(&unlocked)));
  if (plan.header->tty_rows != 0 || plan.header->tty_columns != 0) {
    WindowSize size{plan.header->tty_rows, plan.header->tty_columns, 0, 0};
    require(EnterStep::tty, kernel(__NR_ioctl, master, TIOCSWINSZ, address(&size)));
  }
  long slave = kernel(__NR_ioctl, master, TIOCGPTPEER, kReadWriteNoTty);
  require(EnterStep::tty, slave);
  if (plan.has(kPlanIdentity)) kernel(__NR_fchown, slave, uid, -1);  // best effort, as for pipes
  send_master(socket, master);
  close_fd(master);
  close_fd(socket);
  for (long fd = 0; fd < 3; ++fd) require(EnterStep::tty, kernel(__NR_dup3, slave, fd, 0));
  close_fd(slave);
  if (plan.has(kPlanSetsid)) {
    require(EnterStep::tty, kernel(__NR_ioctl, 0, TIOCSCTTY, 0));
  }
}

}  // namespace keepwell
