// State files survive being cut or damaged at any byte; live records survive a torn write.
#include "runtime/state_file.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "tests/catch.h"

namespace keepwell {
namespace {

struct TempDir {
  TempDir() {
    char name[] = "/tmp/kw-state-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~TempDir() {
    for (const std::string& name : list_state_files(path, ""))
      ::unlink((path + "/" + name).c_str());
    ::rmdir(path.c_str());
  }
  std::string path;
};

void put(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}
std::string get(const std::string& path) { return read_small_file(path, 1u << 24).value(); }

}  // namespace

TEST_CASE("crc32 is the usual one") { CHECK(crc32("123456789") == 0xcbf43926u); }

TEST_CASE("a state file comes back, and the one before it when it is damaged at any byte") {
  TempDir dir;
  std::string path = dir.path + "/web.json";
  CHECK_FALSE(read_state_file(path).body.has_value());
  REQUIRE(write_state_file(path, "first"));
  REQUIRE(write_state_file(path, "the second one"));
  CHECK(read_state_file(path).body == "the second one");
  std::string whole = get(path);
  for (std::size_t cut = 0; cut < whole.size(); ++cut) {
    put(path, whole.substr(0, cut));
    StateFileRead read = read_state_file(path);
    CHECK(read.body == "first");
    REQUIRE(read.problems.size() == 1);
    CHECK_THAT(read.problems[0], ContainsSubstring("set aside as"));
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x41);
    put(path, damaged);
    CHECK(read_state_file(path).body == "first");
  }
  put(path, whole + "x");
  CHECK(read_state_file(path).body == "first");
}

TEST_CASE("a state file of a later version is set aside and said to be unknown") {
  TempDir dir;
  std::string path = dir.path + "/web.json";
  put(path, "keepwell-state 7 00000000 0\n");
  StateFileRead read = read_state_file(path);
  CHECK_FALSE(read.body.has_value());
  REQUIRE(read.problems.size() == 1);
  CHECK_THAT(read.problems[0], ContainsSubstring("version 7"));
}

TEST_CASE("a write that fails leaves the old file") {
  TempDir dir;
  std::string path = dir.path + "/web.json";
  REQUIRE(write_state_file(path, "old"));
  ::mkdir((path + ".tmp").c_str(), 0700);
  Status failed = write_state_file(path, "new");
  ::rmdir((path + ".tmp").c_str());
  REQUIRE_FALSE(failed);
  CHECK_THAT(failed.error().text, StartsWith("cannot create "));
  CHECK(read_state_file(path).body == "old");
}

TEST_CASE("the newest whole live record counts, wherever the last write was torn") {
  TempDir dir;
  std::string path = dir.path + "/web.live";
  std::string problem;
  CHECK_FALSE(read_live_record(path, &problem).has_value());
  CHECK(problem.empty());
  LiveRecordFile live;
  REQUIRE(live.write(path, 1, "one"));
  CHECK(read_live_record(path, &problem)->body == "one");
  REQUIRE(live.write(path, 2, "two, longer"));
  std::string before = get(path);
  REQUIRE(live.write(path, 3, "three, the longest of them"));
  std::string after = get(path);
  CHECK(read_live_record(path, &problem)->sequence == 3);
  // The third write went into the slot of the first; stop it after every byte.
  std::size_t start = 1u << 20;
  REQUIRE(after.substr(0, start) == before.substr(0, start));
  for (std::size_t done = 0; start + done < after.size(); ++done) {
    std::string torn = after.substr(0, start + done);
    if (torn.size() < before.size()) torn += before.substr(torn.size());
    put(path, torn);
    std::optional<LiveRecord> record = read_live_record(path, &problem);
    REQUIRE(record.has_value());
    CHECK(record->body == "two, longer");
  }
  CHECK(problem.empty());
  put(path, "not a record at all, but long enough to be taken for one");
  CHECK_FALSE(read_live_record(path, &problem).has_value());
  CHECK_THAT(problem, ContainsSubstring("neither record in it is whole"));
  ::unlink(path.c_str());
  REQUIRE(live.write(path, 4, "four"));  // and not into the file that is gone
  CHECK(read_live_record(path, &problem)->body == "four");
}

TEST_CASE("a directory that others may write to is refused") {
  TempDir dir;
  std::string sub = dir.path + "/a";
  REQUIRE(make_private_dir(sub, 0700));
  REQUIRE(make_private_dir(sub, 0700));
  ::chmod(sub.c_str(), 0777);
  Status refused = make_private_dir(sub, 0700);
  REQUIRE_FALSE(refused);
  CHECK_THAT(refused.error().text, ContainsSubstring("others may write to it"));
  ::rmdir(sub.c_str());
  REQUIRE(::symlink("/tmp", sub.c_str()) == 0);
  CHECK_FALSE(make_private_dir(sub, 0700));
}

}  // namespace keepwell
