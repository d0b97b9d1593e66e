#include "runtime/socket_state.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

namespace keepwell {

bool peer_has_read_all(int fd) {
  int unread = 0;
  return ::ioctl(fd, SIOCOUTQ, &unread) != 0 || unread == 0;
}

bool peer_has_closed(int fd) {
  pollfd poll{fd, 0, 0};
  return ::poll(&poll, 1, 0) > 0 && (poll.revents & (POLLHUP | POLLERR)) != 0;
}

bool can_take_a_line(int fd) {
  pollfd poll{fd, POLLOUT, 0};
  return ::poll(&poll, 1, 0) == 1 && (poll.revents & POLLOUT) != 0;
}

}  // namespace keepwell
