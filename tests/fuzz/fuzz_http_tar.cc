// Any bytes as an archive that docker cp sends: taken apart alike in any pieces, and what a file
// gets is as many bytes as its entry said. Links: agent
#include <cstdint>
#include <string>
#include <string_view>

#include "config/check.h"
#include "runtime/tar.h"

using namespace keepwell;

namespace {

// The first piece has FIRST bytes, the others STEP.
std::string story(std::string_view archive, std::size_t first, std::size_t step) {
  std::string story;
  std::uint64_t left = 0;
  TarReader reader({.on_entry =
                        [&](const TarEntry& entry) {
                          KW_CHECK(left == 0);
                          left = entry.bytes;
                          story += entry.name + ">" + entry.target + ":";
                          return Status();
                        },
                    .on_bytes =
                        [&](std::string_view bytes) {
                          KW_CHECK(!bytes.empty() && bytes.size() <= left);
                          left -= bytes.size();
                          story += bytes;
                          return Status();
                        },
                    .on_file_end =
                        [&] {
                          KW_CHECK(left == 0);
                          story += ";";
                          return Status();
                        }});
  for (std::size_t at = 0, next = first; at < archive.size(); at = next, next += step)
    if (const Status fed = reader.feed(archive.substr(at, next - at)); !fed)
      return story + fed.error().text;
  const Status ended = reader.end();
  return ended ? story : story + ended.error().text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view archive(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string whole = story(archive, size, size);
  KW_CHECK(story(archive, 1u + data[0], 1u + data[0]) == whole);
  KW_CHECK(story(archive, 1, 1) == whole);
  if (size <= 2048)
    for (std::size_t at = 1; at < size; ++at) KW_CHECK(story(archive, at, size) == whole);
  return 0;
}
