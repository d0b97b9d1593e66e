#include "config/ip_address.h"

#include <arpa/inet.h>

#include <charconv>

namespace keepwell {

std::optional<IpAddress> parse_ip(std::string_view text) {
  IpAddress address;
  const std::string whole(text);
  if (inet_pton(AF_INET, whole.c_str(), address.bytes.data()) == 1) return address;
  address.v6 = true;
  if (inet_pton(AF_INET6, whole.c_str(), address.bytes.data()) == 1) return address;
  return std::nullopt;
}

std::optional<Subnet> parse_subnet(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  std::optional<IpAddress> address = parse_ip(text.substr(0, slash));
  int prefix = 0;
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data() + slash + 1, end, prefix);
  if (!address || error != std::errc{} || stop != end || prefix < 0 || prefix > address->bits()) {
    return std::nullopt;
  }
  return subnet_of(*address, prefix);
}

std::string to_string(const IpAddress& address) {
  char text[INET6_ADDRSTRLEN];
  const int family = address.v6 ? AF_INET6 : AF_INET;
  return inet_ntop(family, address.bytes.data(), text, sizeof text) != nullptr ? text : "";
}

std::string to_string(const Subnet& subnet) {
  return to_string(subnet.base) + "/" + std::to_string(subnet.prefix);
}

Subnet subnet_of(const IpAddress& address, int prefix) {
  Subnet subnet{address, prefix};
  for (int bit = prefix; bit < address.bits(); ++bit) {
    auto& byte = subnet.base.bytes[static_cast<std::size_t>(bit / 8)];
    byte = static_cast<std::uint8_t>(byte & ~(0x80u >> (bit % 8)));
  }
  return subnet;
}

bool contains(const Subnet& subnet, const IpAddress& address) {
  return address.v6 == subnet.base.v6 && subnet_of(address, subnet.prefix) == subnet;
}

bool overlap(const Subnet& a, const Subnet& b) {
  return a.prefix <= b.prefix ? contains(a, b.base) : contains(b, a.base);
}

IpAddress plus(IpAddress address, std::uint64_t n) {
  for (std::size_t i = address.v6 ? 16 : 4; i-- > 0 && n != 0;) {
    n += address.bytes[i];
    address.bytes[i] = static_cast<std::uint8_t>(n & 0xff);
    n >>= 8;
  }
  return address;
}

IpAddress last_of(const Subnet& subnet) {
  IpAddress last = subnet.base;
  for (int bit = subnet.prefix; bit < last.bits(); ++bit) {
    auto& byte = last.bytes[static_cast<std::size_t>(bit / 8)];
    byte = static_cast<std::uint8_t>(byte | (0x80u >> (bit % 8)));
  }
  return last;
}

}  // namespace keepwell
