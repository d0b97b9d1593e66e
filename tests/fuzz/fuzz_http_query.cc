// Any text as a request's target: path, query, filters, detach keys. What is taken apart and put
// together again is the same.
// Links: agent
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/api/detach_keys.h"
#include "agent/api/router.h"
#include "agent/http/query.h"
#include "config/check.h"

using namespace keepwell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.find('\0') == std::string_view::npos)
    KW_CHECK(percent_decode(percent_encode(text), true).value() == text);
  const Result<std::vector<std::string>> segments = split_path(text);
  if (segments) {
    std::size_t bytes = 0;
    for (const std::string& segment : *segments) {
      KW_CHECK(!segment.empty() && segment.find('\0') == std::string::npos);
      bytes += segment.size();
    }
    KW_CHECK(bytes <= size);
    for (const char* method : {"GET", "POST", "HEAD", "PUT", "DELETE"}) {
      const RouteMatch match = find_route(method, *segments);
      KW_CHECK(match.route != nullptr || match.params.empty());
    }
    if (!segments->empty()) KW_CHECK(api_minor_of(segments->front()) <= 9999);
  }
  if (const Result<Query> query = Query::parse(text)) {
    for (const auto& [name, value] : query->pairs()) {
      KW_CHECK(query->find(name) != nullptr);
      static_cast<void>(query->flag(name));
      static_cast<void>(query->number(name));
    }
  }
  if (const Result<std::string> keys = parse_detach_keys(text)) {
    KW_CHECK(!keys->empty() && keys->size() <= size + 2);
    // Typed, the sequence is found, and nothing of it reaches the program.
    DetachScanner scanner(*keys);
    std::string out;
    KW_CHECK(scanner.feed(*keys, out));
    KW_CHECK(out.empty());
  }
  return 0;
}
