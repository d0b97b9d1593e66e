// A pattern and a body of any bytes: the pattern is refused, or the match ends in bounded time.
// Links: runtime
#include <cstdint>
#include <ctime>
#include <string>

#include "config/check.h"
#include "runtime/net_probe/body_regex.h"
#include "runtime/net_probe/net_verdict.h"

using namespace keepwell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::size_t length = std::min<std::size_t>(data[0], size - 1);
  const std::string pattern(reinterpret_cast<const char*>(data) + 1, length);
  std::string body(reinterpret_cast<const char*>(data) + 1 + length, size - 1 - length);
  while (!body.empty() && body.size() < kNetBodyBytesMax) body += body;  // as long as it gets
  body.resize(std::min(body.size(), kNetBodyBytesMax));
  if (body_regex_fault(pattern)) {
    KW_CHECK(!body_matches(pattern, body));
    return 0;
  }
  const std::clock_t began = std::clock();
  (void)body_matches(pattern, body);
  // Some tens of milliseconds; a sanitizer makes that a second.
  KW_CHECK(std::clock() - began < 10 * CLOCKS_PER_SEC);
  return 0;
}
