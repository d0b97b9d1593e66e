#include "runtime/network/port_relay.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>

#include "runtime/fd_watch.h"
#include "runtime/listener.h"
#include "runtime/loop.h"
#include "runtime/network/socket_address.h"
#include "runtime/network/udp_relay.h"
#include "runtime/stream.h"

namespace keepwell {
namespace {

constexpr std::size_t kTargetsPerMessage = 64;  // the kernel takes 253 descriptors in one

struct WireTarget {
  std::uint8_t udp = 0, v6 = 0;
  std::uint16_t port = 0;
  std::array<std::uint8_t, 16> address{};
};

struct Received {
  UniqueFd socket;
  RelayTarget target;
};

Result<std::vector<Received>> receive_targets(int socket) {
  std::vector<Received> all;
  for (;;) {
    std::array<WireTarget, kTargetsPerMessage> targets;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kTargetsPerMessage)];
    iovec part{targets.data(), sizeof targets};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot receive what is to be forwarded");
    if (n == 0) return all;
    std::array<int, kTargetsPerMessage> fds{};
    std::size_t count = 0;
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
      count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      std::memcpy(fds.data(), CMSG_DATA(header), count * sizeof(int));
    }
    for (std::size_t i = 0; i < count; ++i) {
      const WireTarget& w = targets[i];
      all.push_back({UniqueFd(fds[i]), {w.udp != 0, IpAddress{w.v6 != 0, w.address}, w.port}});
    }
    if (count * sizeof(WireTarget) != static_cast<std::size_t>(n))
      return fail(Errc::invalid, "cannot receive what is to be forwarded: sockets are missing");
  }
}

// What the other end sees is then that the connection was reset.
void reset_when_closed(int fd) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

class TcpRelay {
 public:
  TcpRelay(Loop& loop, const RelayTarget& target) : loop_(&loop), target_(target) {}

  Status open(UniqueFd listening) {
    Result<std::unique_ptr<Listener>> listener = Listener::open(
        *loop_, std::move(listening), [this](UniqueFd client) { accepted(std::move(client)); });
    if (!listener) return fail(listener.error());
    listener_ = std::move(*listener);
    return {};
  }

 private:
  struct Connection {
    explicit Connection(Loop& loop) : connecting(loop) {}
    UniqueFd client_fd, target_fd;  // until the container has answered
    FdWatch connecting;
    std::unique_ptr<Stream> client, target;
  };

  void accepted(UniqueFd client) {
    reset_when_closed(client.get());  // until it is connected
    Result<UniqueFd> target = connect_to(target_);
    if (!target) return;
    for (int fd : {client.get(), target->get()}) {
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    const std::uint64_t number = next_++;
    auto connection = std::make_unique<Connection>(*loop_);
    connection->client_fd = std::move(client);
    connection->target_fd = std::move(*target);
    Status watched = connection->connecting.start(connection->target_fd.get(), {.writable = true},
                                                  [this, number](Ready) { connected(number); });
    if (watched) connections_.emplace(number, std::move(connection));
  }

  void connected(std::uint64_t number) {
    Connection& c = *connections_.at(number);
    c.connecting.stop();
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c.target_fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      connections_.erase(number);
      return;
    }
    const linger ordinary{};
    setsockopt(c.client_fd.get(), SOL_SOCKET, SO_LINGER, &ordinary, sizeof ordinary);
    Result<std::unique_ptr<Stream>> client = Stream::open(*loop_, std::move(c.client_fd), {});
    Result<std::unique_ptr<Stream>> target = Stream::open(*loop_, std::move(c.target_fd), {});
    if (!client || !target) {
      connections_.erase(number);
      return;
    }
    c.client = std::move(*client);
    c.target = std::move(*target);
    join(number, *c.client, *c.target);
    join(number, *c.target, *c.client);
  }

  // What FROM reads goes to TO, and no more is read than TO takes.
  void join(std::uint64_t number, Stream& from, Stream& to) {
    from.set_handlers({.on_data =
                           [&from, &to](std::string_view data) {
                             if (!to.write(data)) from.pause_reading();
                           },
                       .on_end = [&to] { to.shutdown_write(); },
                       .on_broken = [this, number](const Error&) { broken(number); },
                       .on_drained =
                           [this, number, &from, &to] {
                             if (from.ended() && to.ended()) {
                               if (from.queued() + to.queued() == 0) connections_.erase(number);
                             } else if (!to.ended()) {
                               to.resume_reading();
                             }
                           }});
    from.resume_reading();
  }

  void broken(std::uint64_t number) {
    Connection& c = *connections_.at(number);
    reset_when_closed(c.client->fd());
    reset_when_closed(c.target->fd());
    connections_.erase(number);
  }

  Loop* loop_;
  RelayTarget target_;
  std::unique_ptr<Listener> listener_;
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, std::unique_ptr<Connection>> connections_;
};

// It reads what containers and their clients send, and needs nothing but sockets for that.
void give_up_rights() {
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (cap_t none = cap_init()) {
    cap_set_proc(none);
    cap_free(none);
  }
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
}

Status write_pid(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600));
  const std::string text = std::to_string(getpid()) + "\n";
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail_errno("cannot write " + path);
  return {};
}

}  // namespace

Status send_relay_targets(int socket, const std::vector<RelayTarget>& targets,
                          const std::vector<int>& fds) {
  for (std::size_t at = 0; at < targets.size(); at += kTargetsPerMessage) {
    const std::size_t count = std::min(kTargetsPerMessage, targets.size() - at);
    std::array<WireTarget, kTargetsPerMessage> wire;
    for (std::size_t i = 0; i < count; ++i) {
      const RelayTarget& t = targets[at + i];
      wire[i] = {t.udp, t.address.v6, t.port, t.address.bytes};
    }
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kTargetsPerMessage)]{};
    iovec part{wire.data(), count * sizeof(WireTarget)};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    std::memcpy(CMSG_DATA(header), fds.data() + at, sizeof(int) * count);
    if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
      return fail_errno("cannot hand over the published ports");
  }
  if (::shutdown(socket, SHUT_WR) != 0) return fail_errno("cannot hand over the published ports");
  return {};
}

Result<UniqueFd> connect_to(const RelayTarget& target) {
  const int type = (target.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
  UniqueFd fd(::socket(target.address.v6 ? AF_INET6 : AF_INET, type, 0));
  if (!fd) return fail_errno("cannot make a socket");
  const SocketAddress to = socket_address(target.address, target.port);
  if (::connect(fd.get(), to.get(), to.bytes) != 0 && errno != EINPROGRESS)
    return fail_errno("cannot connect to " + to_string(target.address));
  return fd;
}

int relay_ports(const std::string& pid_file) {
  auto failed = [](const Error& error) {
    std::fprintf(stderr, "%s\n", error.text.c_str());
    return 1;
  };
  UniqueFd socket(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  if (!socket) return failed(Error::os(errno, "cannot forward ports: no standard input"));
  Result<std::vector<Received>> received = receive_targets(socket.get());
  if (!received) return failed(received.error());
  if (::daemon(0, 0) != 0) return failed(Error::os(errno, "cannot go into the background"));
  give_up_rights();
  Result<std::unique_ptr<Loop>> loop = Loop::open();
  if (!loop) return 1;
  std::vector<std::unique_ptr<TcpRelay>> streams;
  std::vector<std::unique_ptr<UdpRelay>> datagrams;
  for (Received& each : *received) {
    if (each.target.udp) {
      Result<std::unique_ptr<UdpRelay>> relay =
          UdpRelay::open(**loop, std::move(each.socket), each.target);
      if (!relay) return 1;
      datagrams.push_back(std::move(*relay));
    } else {
      streams.push_back(std::make_unique<TcpRelay>(**loop, each.target));
      if (!streams.back()->open(std::move(each.socket))) return 1;
    }
  }
  if (!write_pid(pid_file)) return 1;
  const char ready = 1;
  if (::send(socket.get(), &ready, 1, MSG_NOSIGNAL) != 1) return 1;
  socket.reset();
  (*loop)->run();
  return 0;
}

}  // namespace keepwell
