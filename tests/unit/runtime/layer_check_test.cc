// What of a layer is refused before it is unpacked, entry by entry, and the sizes of sparse files.
#include "runtime/image/layer_check.h"

#include <fstream>

#include "runtime/image/sha256.h"
#include "tests/catch.h"

using namespace keepwell;

namespace {

constexpr std::uint64_t kMax = 1000;

TarEntry entry(char type, const std::string& name, const std::string& target = "",
               std::uint64_t bytes = 0) {
  TarEntry made;
  made.type = type;
  made.name = name;
  made.target = target;
  made.bytes = made.unpacked_bytes = bytes;
  return made;
}

std::string said(const TarEntry& one) {
  LayerCheck check(kMax);
  Status good = check.take(one);
  return good ? "" : good.error().text;
}

// Entries as a reader of the archive TEXT is told them, or why it stops.
struct Read {
  std::vector<TarEntry> entries;
  std::string problem;
};
Read read(const std::string& text, std::size_t step) {
  Read out;
  TarReader reader(
      {.on_entry = [&](const TarEntry& one) { return out.entries.push_back(one), Status(); },
       .on_bytes = [](std::string_view) { return Status(); },
       .on_file_end = [] { return Status(); }});
  for (std::size_t at = 0; at < text.size(); at += step) {
    Status fed = reader.feed(std::string_view(text).substr(at, step));
    if (!fed) {
      out.problem = fed.error().text;
      return out;
    }
  }
  if (Status end = reader.end(); !end) out.problem = end.error().text;
  return out;
}

// A header of GNU's old sparse kind: MORE blocks of the map follow it, then STORED bytes.
std::string sparse(std::uint64_t stored, std::uint64_t unpacked, int more) {
  TarEntry plain;
  plain.name = "holes";
  plain.bytes = stored;
  std::string head = tar_head(plain);
  head[156] = 'S';
  char digits[16];
  std::snprintf(digits, sizeof digits, "%011llo", static_cast<unsigned long long>(unpacked));
  head.replace(483, 11, digits);
  head[482] = more > 0 ? 1 : 0;
  head.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (char c : head) sum += static_cast<unsigned char>(c);
  std::snprintf(digits, sizeof digits, "%06o", sum);
  head.replace(148, 7, std::string(digits, 6) + '\0');
  for (int i = 0; i < more; ++i) {
    std::string map(512, '\0');
    map[504] = i + 1 < more ? 1 : 0;
    head += map;
  }
  return head + std::string(stored, 'x') + tar_padding(stored);
}

}  // namespace

TEST_CASE("a layer's ordinary entries pass") {
  for (const TarEntry& one :
       {entry('5', "./"), entry('0', "a/b", "", 5), entry('2', "bin", "usr/bin"),
        entry('2', "etc/mtab", "/proc/mounts"), entry('2', "usr/lib/x", "../../lib/x"),
        entry('1', "b", "a/b"), entry('1', "b", "./a"), entry('6', "run/fifo"),
        entry('3', "dev/null"), entry('4', "./dev/sda"), entry('5', "dev/"),
        entry('0', "a/.wh.gone"), entry('0', ".wh..wh..opq"), entry('0', ".wh...hidden"),
        entry('0', "/absolute"), entry('0', "..name"), entry('0', "a/...")}) {
    INFO(one.name);
    CHECK(said(one).empty());
  }
}

TEST_CASE("what would leave the image, or is no file of one, is refused") {
  for (const TarEntry& one :
       {entry('0', "../x"), entry('5', "a/.."), entry('0', "a/../../x"), entry('1', "h", "../x"),
        entry('1', "h", "a/../../x"), entry('1', "h", "/etc/passwd"), entry('1', "h", ""),
        entry('2', "l", ".."), entry('2', "a/l", "../../x"), entry('2', "a/l", "b/../../../x"),
        entry('0', std::string(5000, 'a')), entry('0', std::string(256, 'a'))}) {
    INFO(one.name << " " << one.target);
    CHECK_THAT(said(one), ContainsSubstring("leads out of the image"));
  }
  for (const TarEntry& one :
       {entry('0', ".wh."), entry('0', "a/.wh.."), entry('0', ".wh..."), entry('5', ".wh.../x")}) {
    INFO(one.name);
    CHECK_THAT(said(one), ContainsSubstring("hides no file"));
  }
  CHECK_THAT(said(entry('3', "x/dev/null")), ContainsSubstring("it has a device node"));
  CHECK_THAT(said(entry('3', "dev/net/tun")), ContainsSubstring("it has a device node"));
  CHECK_THAT(said(entry('2', "dev", "etc")), ContainsSubstring("/dev is no directory"));
  CHECK_THAT(said(entry('4', "device")), ContainsSubstring("it has a device node"));
  CHECK_THAT(said(entry('V', "label")), ContainsSubstring("is of an unknown kind"));
}

TEST_CASE("sizes add up over all layers") {
  LayerCheck check(kMax);
  CHECK(check.take(entry('0', "a", "", 600)));
  CHECK(check.take(entry('0', "b", "", 400)));
  CHECK(check.take(entry('0', "empty")));
  Status over = check.take(entry('0', "c", "", 1));
  REQUIRE_FALSE(over);
  CHECK(over.error().text ==
        "with \"c\" (1) it is larger than 1000, which x-keepwell.image.max_size or --max-size "
        "allows");
  CHECK(check.bytes() == 1000);
  CHECK_FALSE(LayerCheck(kMax).take(entry('S', "huge", "", std::uint64_t{1} << 61)));
}

TEST_CASE("a sparse file counts with its holes, however its map is written") {
  for (int more : {0, 1, 3}) {
    for (std::size_t step : {std::size_t{1}, std::size_t{511}, std::size_t{1} << 20}) {
      INFO(more << " " << step);
      TarEntry last;
      last.name = "last";
      Read seen = read(sparse(700, 5'000'000'000, more) + tar_head(last) + tar_end(), step);
      CHECK(seen.problem.empty());
      REQUIRE(seen.entries.size() == 2);
      CHECK(seen.entries[0].type == 'S');
      CHECK(seen.entries[0].unpacked_bytes == 5'000'000'000);
      CHECK(seen.entries[1].name == "last");
      CHECK(seen.entries[1].unpacked_bytes == 0);
    }
  }
  // The newer way: pax records beside a plain file.
  const std::string records =
      "22 GNU.sparse.major=1\n31 GNU.sparse.name=real/name.x\n31 GNU.sparse.realsize=1000000\n";
  TarEntry extension;
  extension.name = "x";
  extension.bytes = records.size();
  std::string head = tar_head(extension);
  head[156] = 'x';
  head.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (char c : head) sum += static_cast<unsigned char>(c);
  char digits[16];
  std::snprintf(digits, sizeof digits, "%06o", sum);
  head.replace(148, 7, std::string(digits, 6) + '\0');
  TarEntry plain;
  plain.name = "GNUSparseFile.0/name.x";
  Read seen = read(head + records + tar_padding(records.size()) + tar_head(plain) + tar_end(), 100);
  INFO(seen.problem);
  REQUIRE(seen.entries.size() == 1);
  CHECK(seen.entries[0].name == "real/name.x");
  CHECK(seen.entries[0].unpacked_bytes == 1'000'000);
}

TEST_CASE("an archive that is cut off is no layer") {
  TarEntry file;
  file.name = "file";
  file.bytes = 600;
  const std::string whole = tar_head(file) + std::string(600, 'x') + tar_padding(600);
  const std::string path = "build/layer_check_test.tar";
  for (std::size_t size : {std::size_t{100}, std::size_t{512}, std::size_t{1000}, whole.size()}) {
    INFO(size);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << whole.substr(0, size);
    LayerCheck check(kMax);
    CHECK(check_layer(path, check).has_value() == (size == whole.size()));
  }
  std::remove(path.c_str());
  LayerCheck check(kMax);
  CHECK_FALSE(check_layer("build/absent.tar", check));
}

TEST_CASE("SHA-256") {
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
