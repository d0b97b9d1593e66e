// Stands in for the agent in the keeper's tests: hands its control socket (descriptor 3) to the
// test at the unix socket argv[1] and waits. A byte from the test makes it exit with that code.
// Without an argument it is a logger that does nothing but end when told to.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string_view>

#include "runtime/wire_socket.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    keepwell::wire::MessageHead head{};
    do {
      pollfd ready{3, POLLIN, 0};
      poll(&ready, 1, -1);
      if (recv(3, &head, sizeof(head), 0) <= 0) return 1;
    } while (head.type != static_cast<std::uint16_t>(keepwell::wire::Type::finish));
    return 0;
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
  int to_test = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(to_test, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) return 90;
  pid_t pid = getpid();
  const std::array<int, 1> control{keepwell::wire::kControlFd};
  const std::string_view number(reinterpret_cast<const char*>(&pid), sizeof(pid));
  if (keepwell::wire::send_with_fds(to_test, number, control) != 0) return 91;
  close(control[0]);
  unsigned char code = 0;
  return read(to_test, &code, 1) == 1 ? code : 92;
}
