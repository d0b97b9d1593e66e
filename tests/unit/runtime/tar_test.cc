// Archives written, taken apart in any pieces, and refused where they are broken.
#include "runtime/tar.h"

#include "tests/catch.h"

using namespace keepwell;

namespace {

// What a reader tells of ARCHIVE, fed in pieces of STEP.
std::string story(const std::string& archive, std::size_t step) {
  std::string story;
  TarReader reader({.on_entry =
                        [&](const TarEntry& entry) {
                          story += std::to_string(static_cast<int>(entry.kind)) + " " + entry.name +
                                   ">" + entry.target + " " + std::to_string(entry.permissions) +
                                   " " + std::to_string(entry.uid) + " " +
                                   std::to_string(entry.bytes) + ":";
                          return Status();
                        },
                    .on_bytes =
                        [&](std::string_view bytes) {
                          story += bytes;
                          return Status();
                        },
                    .on_file_end =
                        [&] {
                          story += ";";
                          return Status();
                        }});
  for (std::size_t at = 0; at < archive.size(); at += step) {
    const Status fed = reader.feed(std::string_view(archive).substr(at, step));
    if (!fed) return story + fed.error().text;
  }
  const Status ended = reader.end();
  return ended ? story : story + ended.error().text;
}

TarEntry file(const std::string& name, std::uint64_t bytes) {
  TarEntry entry;
  entry.name = name;
  entry.bytes = bytes;
  entry.uid = 1000;
  return entry;
}

}  // namespace

TEST_CASE("what was written is read, in any pieces") {
  TarEntry directory;
  directory.kind = TarEntry::Kind::directory;
  directory.name = "d/";
  directory.permissions = 0755;
  TarEntry link;
  link.kind = TarEntry::Kind::link;
  link.name = "l";
  link.target = std::string(150, 't');
  const std::string long_name(300, 'n');
  const std::string archive = tar_head(directory) + tar_head(file("d/a", 5)) + "hello" +
                              tar_padding(5) + tar_head(file("empty", 0)) + tar_head(link) +
                              tar_head(file(long_name, 512)) + std::string(512, 'x') +
                              tar_padding(512) + tar_end();
  const std::string expected = "1 d/> 493 0 0:0 d/a> 420 1000 5:hello;0 empty> 420 1000 0:;2 l>" +
                               link.target + " 420 0 0:0 " + long_name +
                               "> 420 1000 512:" + std::string(512, 'x') + ";";
  CHECK(archive.size() % 512 == 0);
  for (const std::size_t step :
       {std::size_t{1}, std::size_t{7}, std::size_t{512}, std::size_t{513}, archive.size()}) {
    INFO(step);
    CHECK(story(archive, step) == expected);
  }
}

TEST_CASE("broken archives") {
  const std::string good = tar_head(file("a", 600)) + std::string(600, 'x') + tar_padding(600);
  CHECK_THAT(story(good.substr(0, 1000), 100), ContainsSubstring("cut off"));
  CHECK_THAT(story(std::string(512, 'x'), 512), ContainsSubstring("not a tar header"));
  CHECK_THAT(story("\x1f\x8b" + std::string(600, 'x'), 512), ContainsSubstring("compressed"));
  std::string flipped = good;
  flipped[0] = 'b';
  CHECK_THAT(story(flipped, 512), ContainsSubstring("not a tar header"));
  CHECK(story("", 1).empty());
}
