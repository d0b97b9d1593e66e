// keepwell-enter as a zygote: it has gone into the target once, but for its pid namespace, in which
// only its clones live, and makes the process of each request by cloning. What is then left for
// each is what differs: its cgroup leaf, its descriptors, its session, and its way to the program.
//
// The target does not see it, since it stays in the host's pid namespace. Until its execve a clone
// is seen, and has the zygote's memory and descriptors, so a zygote is only for targets where
// nobody has CAP_SYS_PTRACE, without which one that is not dumpable can be neither read nor traced
// (zygote.h). It holds nothing of the host's but the cgroup files that its clones join and the
// socket to the keeper, which a clone replaces by its status pipe first of all.
#include <linux/sched.h>

#include "runtime/enter/enter.h"

namespace keepwell {
namespace {

constexpr int kOutputFd = 1;
constexpr unsigned long kDescriptorsBytes = 16 + sizeof(int) * kZygoteRequestFds;
constexpr long kIdleSeconds = 60;  // a check that has a zygote runs every 5 s at least

struct Iovec {
  void* base;
  unsigned long size;
};
struct MessageHeader {
  void* name;
  std::uint32_t name_size, padding;
  Iovec* parts;
  unsigned long part_count;
  void* control;
  unsigned long control_size;
  std::uint32_t flags, padding_after;
};
struct Descriptors {  // a cmsghdr and what it holds
  unsigned long size;
  int level, type;
  int fds[kZygoteRequestFds];
};
static_assert(sizeof(MessageHeader) == 56 && sizeof(Descriptors) == 24);

// Waits for a request. Ends the program when there will be none, or was none for a minute: its
// check has been taken away or put off.
void receive(Descriptors& request) {
  long flags = 0x40000000;  // MSG_CMSG_CLOEXEC
  for (;;) {
    char byte = 0;
    Iovec part = {&byte, 1};
    MessageHeader message = {nullptr, 0, 0, &part, 1, &request, sizeof(request), 0, 0};
    request.size = 0;
    long got = kernel(__NR_recvmsg, kStatusFd, address(&message), flags);
    if (got == -4 /* EINTR */) continue;
    if (got == -11 /* EAGAIN */ && (flags & 0x40) == 0) {
      flags |= 0x40;  // MSG_DONTWAIT: it may have come while the time ran out, in a pause
      continue;
    }
    if (got <= 0) exit_process(0);
    if (request.size == kDescriptorsBytes) return;
    exit_process(1);  // it ran out of descriptors
  }
}

void answer(long pid) {
  ZygoteAnswer text = {static_cast<std::int32_t>(pid)};
  kernel(__NR_sendto, kStatusFd, address(&text), sizeof(text), 0x4000 /* MSG_NOSIGNAL */);
}

// What the clone goes on with. It is still read, and the stack still used, while `running` is not
// 0.
struct Onward {
  Plan plan;
  Descriptors request;
  int running = 0;
} onward;

[[noreturn]] void go_on() {
  const Plan& plan = onward.plan;
  const int output = onward.request.fds[0];
  if (kernel(__NR_dup3, plan.header->clone_status, kStatusFd, 02000000 /* O_CLOEXEC */) < 0) {
    exit_process(126);
  }
  require(EnterStep::stdio, kernel(__NR_dup3, output, kOutputFd, 0));
  require(EnterStep::stdio, kernel(__NR_dup3, output, kOutputFd + 1, 0));
  join_cgroups(plan, 0, plan.header->first_shared_cgroup);
  join_namespaces(plan, plan.header->namespaces & CLONE_NEWCGROUP);
  close_descriptors(plan);
  run_inside(plan, 0);
}

}  // namespace

[[noreturn]] void serve_as_zygote(const Plan& plan) {
  join_keyring(plan);
  drop_bounding(plan);
  kernel(__NR_prctl, 15 /* PR_SET_NAME */, address("keepwell-zygote"));
  kernel(__NR_fcntl, kStatusFd, 4 /* F_SETFL */, 0);  // waiting is all that it does
  long idle[2] = {kIdleSeconds, 0};
  kernel(__NR_setsockopt, kStatusFd, 1 /* SOL_SOCKET */, 20 /* SO_RCVTIMEO */, address(idle),
         sizeof(idle));
  close_fd(kPlanFd);
  const std::uint32_t end = plan.header->clone_status + 1 + plan.header->first_shared_cgroup;
  require(EnterStep::close_fds, kernel(__NR_close_range, end, 0xffffffff, 0));
  onward.plan = plan;
  answer(0);
  for (;;) {
    Descriptors request;
    receive(request);
    wait_until_zero(&onward.running, 1);
    onward.request = request;
    answer(clone_in_our_memory(go_on, &onward.running, plan.header->leaf_directory));
    close_fd(request.fds[0]);
  }
}

}  // namespace keepwell
