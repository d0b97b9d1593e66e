#include "runtime/network/interface_counters.h"

#include <sstream>

namespace keepwell {

std::map<std::string, InterfaceCounters> parse_interface_counters(std::string_view net_dev) {
  std::map<std::string, InterfaceCounters> all;
  std::istringstream lines{std::string(net_dev)};
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;  // the heading
    const std::size_t start = line.find_first_not_of(' ');
    const std::string name = line.substr(start, colon - start);
    if (name == "lo") continue;
    std::istringstream words(line.substr(colon + 1));
    InterfaceCounters c;
    std::uint64_t other = 0;
    words >> c.rx_bytes >> c.rx_packets >> c.rx_errors >> c.rx_dropped;
    for (int i = 0; i < 4; ++i) words >> other;
    words >> c.tx_bytes >> c.tx_packets >> c.tx_errors >> c.tx_dropped;
    if (words) all[name] = c;
  }
  return all;
}

}  // namespace keepwell
