#include "runtime/netns_socket.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>

#include "config/check.h"
#include "runtime/socket_maker.h"

namespace keepwell {

Result<UniqueFd> socket_in_network_of(int pidfd, int domain, int type, int protocol) {
  if (SocketMaker* maker = SocketMaker::current()) {
    return maker->make(pidfd, domain, type, protocol);
  }
  static const UniqueFd own(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!own) return fail(Errc::os, "cannot open our own network namespace at /proc/self/ns/net");
  if (setns(pidfd, CLONE_NEWNET) != 0) {
    if (errno == ESRCH)
      return fail(Errc::not_found, "cannot enter the network namespace: the container has ended");
    return fail_errno("cannot enter the network namespace of the container");
  }
  UniqueFd made(::socket(domain, type | SOCK_CLOEXEC, protocol));
  int error = errno;
  KW_CHECK(setns(own.get(), CLONE_NEWNET) == 0);
  if (!made)
    return fail(Error::os(error, "cannot make a socket in the network namespace of the container"));
  return made;
}

Status bring_loopback_up(int pidfd) {
  Result<UniqueFd> made = socket_in_network_of(pidfd, AF_INET, SOCK_DGRAM);
  if (!made) return fail(made.error());
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  if (ioctl(made->get(), SIOCGIFFLAGS, &request) != 0)
    return fail_errno("cannot read the state of the loopback interface");
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (ioctl(made->get(), SIOCSIFFLAGS, &request) != 0)
    return fail_errno("cannot set the loopback interface up");
  return {};
}

}  // namespace keepwell
