// Records of any bytes in the place of a server's: the handshake fails or waits, and what comes out
// as plain text goes into the HTTP exchange as it would in a probe.
// Links: runtime
#include <cstdint>
#include <string_view>

#include "config/check.h"
#include "runtime/net_probe/http_exchange.h"
#include "runtime/net_probe/tls_channel.h"

using namespace keepwell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  auto channel = TlsChannel::open({.server_name = "web.test",
                                   .verify = (data[0] & 1U) != 0,
                                   .ca_file = "",
                                   .alpn = "http/1.1"});
  KW_CHECK(channel.has_value());
  HttpCheck check;
  HttpExchange exchange(check);
  KW_CHECK((*channel)->send(exchange.request()).has_value());
  std::size_t said = (*channel)->take_output().size();
  const std::size_t step = 1U + data[0];
  const std::string_view all(reinterpret_cast<const char*>(data) + 1, size - 1);
  for (std::size_t at = 0; at < all.size(); at += step) {
    auto plain = (*channel)->receive(all.substr(at, step));
    said += (*channel)->take_output().size();
    if (!plain) break;
    if (exchange.receive(*plain)) break;
  }
  KW_CHECK(said < 64 * 1024 + 2 * size);
  // Nobody can finish a handshake by chance.
  KW_CHECK(!(*channel)->established());
  return 0;
}
