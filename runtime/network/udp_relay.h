// One UDP port of port_relay.h: each client gets a socket of its own towards the container, so that
// answers find their way back, until neither has said anything for a while.
#pragma once

#include <netinet/in.h>

#include <map>
#include <memory>
#include <string>

#include "config/time.h"
#include "runtime/fd_watch.h"
#include "runtime/network/port_relay.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class UdpRelay {
 public:
  // Takes FD over, bound. REQUIRES: LOOP outlives it.
  static Result<std::unique_ptr<UdpRelay>> open(Loop& loop, UniqueFd fd, const RelayTarget& target);

 private:
  // Who sent, and to which of the host's addresses: the answer has to come from there.
  struct Client {
    sockaddr_storage from{};
    socklen_t from_bytes = 0;
    in_pktinfo to4{};
    in6_pktinfo to6{};

    std::string key() const;
  };
  struct Flow {
    explicit Flow(Loop& loop) : watch(loop) {}
    Client client;
    UniqueFd fd;
    Instant used{};
    FdWatch watch;
  };

  UdpRelay(Loop& loop, UniqueFd fd, const RelayTarget& target);
  void receive();
  Flow* flow_of(const Client& client);
  void answer(Flow& flow);
  void drop_idle();

  Loop* loop_;
  UniqueFd fd_;
  RelayTarget target_;
  bool v6_ = false;  // the host's side
  FdWatch watch_;
  Timer idle_timer_;
  std::map<std::string, std::unique_ptr<Flow>> flows_;
};

}  // namespace keepwell
