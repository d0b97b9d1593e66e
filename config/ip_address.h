// Addresses and subnets of IP, version 4 and 6, as numbers that can be compared and counted.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace keepwell {

struct IpAddress {
  bool v6 = false;
  std::array<std::uint8_t, 16> bytes{};  // the first 4 with version 4

  auto operator<=>(const IpAddress&) const = default;
  int bits() const { return v6 ? 128 : 32; }
};

struct Subnet {
  IpAddress base;  // all bits past `prefix` are zero
  int prefix = 0;

  bool operator==(const Subnet&) const = default;
};

std::optional<IpAddress> parse_ip(std::string_view text);
// ADDRESS/PREFIX; bits of the address past the prefix are cleared.
std::optional<Subnet> parse_subnet(std::string_view text);
std::string to_string(const IpAddress& address);
std::string to_string(const Subnet& subnet);

// The first PREFIX bits of ADDRESS.
Subnet subnet_of(const IpAddress& address, int prefix);
bool contains(const Subnet& subnet, const IpAddress& address);
bool overlap(const Subnet& a, const Subnet& b);
// The address N behind ADDRESS; wraps.
IpAddress plus(IpAddress address, std::uint64_t n);
// The last address of SUBNET: with version 4 the one for all.
IpAddress last_of(const Subnet& subnet);

}  // namespace keepwell
