// HTTP/2 frames of any bytes at any split, from a server that a container controls: what is
// answered to them stays bounded, and one verdict comes out.
// Links: runtime
#include <cstdint>
#include <string_view>

#include "config/check.h"
#include "runtime/net_probe/grpc_exchange.h"

using namespace keepwell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  GrpcCheck check;
  check.port = 1;
  check.service = "app";
  const std::size_t step = 1U + data[0];
  const std::string_view all(reinterpret_cast<const char*>(data) + 1, size - 1);
  GrpcExchange exchange(check);
  std::size_t said = exchange.output().size();
  std::optional<NetVerdict> verdict;
  for (std::size_t at = 0; at < all.size() && !verdict; at += step) {
    verdict = exchange.receive(all.substr(at, step));
    said += exchange.output().size();
  }
  if (!verdict) verdict = exchange.end();
  // A frame of 9 bytes may be answered by one of 17 at most (PING), and one SETTINGS at the end.
  KW_CHECK(said < 4096 + 4 * size);
  KW_CHECK(verdict->text.size() < 16 * 1024);
  return 0;
}
