// What has gone through the network interfaces of a process's namespace, from /proc/PID/net/dev:
// read without entering it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace keepwell {

struct InterfaceCounters {
  std::uint64_t rx_bytes = 0, rx_packets = 0, rx_errors = 0, rx_dropped = 0;
  std::uint64_t tx_bytes = 0, tx_packets = 0, tx_errors = 0, tx_dropped = 0;

  bool operator==(const InterfaceCounters&) const = default;
};

// By interface, without the loopback.
std::map<std::string, InterfaceCounters> parse_interface_counters(std::string_view net_dev);

}  // namespace keepwell
