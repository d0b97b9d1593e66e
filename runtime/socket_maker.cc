#include "runtime/socket_maker.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/enter_process.h"
#include "runtime/host_command.h"
#include "runtime/launch.h"
#include "runtime/passed_fd.h"

namespace keepwell {
namespace {

SocketMaker* the_maker = nullptr;

struct Question {
  int domain = 0, type = 0, protocol = 0;
};
struct Answer {
  int error = 0;        // errno; 0: the socket comes along
  bool entered = true;  // false: the network could not be entered
};

// One message with at most one descriptor (-1: none).
template <class Body>
bool send_one(int socket, Body body, int fd) {
  iovec part{&body, sizeof body};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  ssize_t n = 0;
  do {
    n = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof body);
}

}  // namespace

SocketMaker* SocketMaker::current() { return the_maker; }

Result<std::unique_ptr<SocketMaker>> SocketMaker::start(Loop& loop, KeeperClient& keeper) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return fail_errno("cannot make a pair of sockets");
  std::unique_ptr<SocketMaker> maker(new SocketMaker);
  maker->socket_.reset(ends[0]);
  UniqueFd theirs(ends[1]);
  timeval patience{.tv_sec = 2, .tv_usec = 0};
  setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  EnterOrder order;
  order.base = host_command_base();
  order.request.argv = {own_program_path(), "socket-maker"};
  order.request.cwd = std::string(1, '/');  // as a text, GCC 12 sees an overlap in it
  order.stdio = {theirs.get(), null.get(), null.get()};
  auto process = EnterProcess::start(
      loop, keeper, order,
      {.on_running = [] {},
       .on_failed = [](const EnterReport&) {},
       .on_exited = [&keeper](const ExitRecord& record) { keeper.ack(record.id); }});
  if (!process) return fail(process.error());
  maker->process_ = std::move(*process);
  the_maker = maker.get();
  return maker;
}

SocketMaker::~SocketMaker() {
  if (the_maker == this) the_maker = nullptr;
}

Result<UniqueFd> SocketMaker::make(int pidfd, int domain, int type, int protocol) {
  // An answer that came too late for whoever asked before.
  Answer answer;
  UniqueFd made;
  while (::recv(socket_.get(), &answer, sizeof answer, MSG_DONTWAIT) > 0) {
  }
  answer = {};
  if (!send_one(socket_.get(), Question{domain, type | SOCK_CLOEXEC, protocol}, pidfd) ||
      receive_with_fd(socket_.get(), &answer, sizeof answer, made, 0) != ssize_t{sizeof answer}) {
    return fail(Errc::unavailable,
                "cannot make a socket in the container's network: keepwell socket-maker does not "
                "answer");
  }
  if (made) return made;
  if (!answer.entered && answer.error == ESRCH)
    return fail(Errc::not_found, "cannot enter the network namespace: the container has ended");
  if (!answer.entered && answer.error == EPERM) {
    UniqueFd here(::socket(domain, type | SOCK_CLOEXEC, protocol));
    if (here) return here;
    answer.error = errno;
  }
  return fail(
      Error::os(answer.error, "cannot make a socket in the network namespace of the container"));
}

int serve_sockets() {
  for (;;) {
    Question question;
    UniqueFd pidfd;
    if (receive_with_fd(STDIN_FILENO, &question, sizeof question, pidfd, 0) !=
        ssize_t{sizeof question})
      return 0;
    Answer answer;
    UniqueFd made;
    if (::setns(pidfd.get(), CLONE_NEWNET) != 0) {
      answer = {errno, false};
    } else {
      made.reset(::socket(question.domain, question.type, question.protocol));
      if (!made) answer.error = errno;
    }
    if (!send_one(STDIN_FILENO, answer, made.get())) return 0;
  }
}

}  // namespace keepwell
