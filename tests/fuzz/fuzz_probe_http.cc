// A response of any bytes at any split, from a server that a container controls: one verdict comes
// out, of bounded size, and a redirect is followed only where it may be.
// Links: runtime
#include <cstdint>
#include <string_view>

#include "config/check.h"
#include "runtime/net_probe/http_exchange.h"
#include "runtime/net_probe/redirect.h"

using namespace keepwell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  HttpCheck check;
  if ((data[0] & 1U) != 0) check.method = "HEAD";
  if ((data[0] & 2U) != 0) check.body_regex = "re[a]dy";
  if ((data[0] & 4U) != 0) check.redirects_max = 2;
  const std::size_t step = 1U + data[1];
  const std::string_view all(reinterpret_cast<const char*>(data) + 2, size - 2);
  HttpExchange exchange(check);
  std::optional<NetVerdict> verdict;
  for (std::size_t at = 0; at < all.size() && !verdict; at += step) {
    verdict = exchange.receive(all.substr(at, step));
  }
  if (!verdict) verdict = exchange.end();
  KW_CHECK(verdict->text.size() < 64 * 1024);
  if (verdict->location.empty()) return 0;
  KW_CHECK(check.redirects_max > 0);
  Result<HttpCheck> next = redirected(check, verdict->location);
  if (!next) return 0;
  KW_CHECK(next->redirects_max == check.redirects_max - 1);
  KW_CHECK(next->host == check.host);
  for (const char c : next->path) KW_CHECK(c > 0x20 && c != 0x7f);
  return 0;
}
