// Every way that a "user[:group]" can be written, against files that map each odd spelling to root:
// a parser that falls back to a name, or reads "4294967296" as 0, fails here.
#include "runtime/passwd.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "tests/catch.h"

using namespace keepwell;

namespace {

const char* const kOddNames[] = {"4294967295",
                                 "4294967296",
                                 "18446744073709551616",
                                 "-1",
                                 "+1",
                                 "0x1",
                                 "0x0",
                                 " 1",
                                 "1 ",
                                 "1\t",
                                 "\t1",
                                 "1.0",
                                 "1e0",
                                 "-0",
                                 "+0",
                                 "0b1",
                                 "0o1",
                                 "1_000",
                                 "1,000",
                                 "1:",
                                 ":1",
                                 ":",
                                 "::",
                                 "1::",
                                 ":1:",
                                 "1:2:3",
                                 "1:-1",
                                 "1:+1",
                                 "1:0x1",
                                 "1: 1",
                                 "1:1 ",
                                 "1:4294967295",
                                 "1:4294967296",
                                 "alice:",
                                 ":alice",
                                 "alice:-1",
                                 "alice:4294967296",
                                 "9alice",
                                 "0alice",
                                 "1a",
                                 "-alice",
                                 "+alice",
                                 "#alice",
                                 ".alice",
                                 "al ice",
                                 "alice\n",
                                 "alice/",
                                 "ali*ce",
                                 "$alice",
                                 "al$ice",
                                 "\xd9\xa1",
                                 "root\xc2\xa0",
                                 "~alice",
                                 "@alice",
                                 "alice:9x",
                                 "alice:-staff",
                                 "alice:st aff",
                                 "@",
                                 "$",
                                 "1\n"};

std::string hostile_passwd() {
  std::string text;
  for (std::string name : kOddNames) {
    text += name + ":x:0:0:root:/root:/bin/sh\n";
    text += name.substr(0, name.find(':')) + ":x:0:0:root:/root:/bin/sh\n";
  }
  return text + "alice:x:1000:1001::/home/alice:/bin/sh\n";
}

const std::string kPasswd =
    "# comment:x:5:5::/:\n"
    "+::0:0:::\n"
    "root:x:0:0:root:/root:/bin/sh\n"
    "broken:x:zero:0::/:\n"
    "half:x:7\n"
    "alice:x:1000:1001:Alice:/home/alice:/bin/sh\n"
    "alice:x:0:0:second one loses:/root:/bin/sh\n"
    "twin:x:1000:77::/home/twin:/bin/sh\n"
    "homeless:x:1002:1002:::\n"
    "big:x:4294967294:4294967294::/big:\n"
    "over:x:4294967295:0::/:\n"
    "machine$:x:1003:1003::/m:\n";
const std::string kGroup =
    "root:x:0:\n"
    "wheel:x:10:root,alice\n"
    "staff:x:50:alice,twin\n"
    "bad:x:-5:alice\n"
    "alicenot:x:60:alices,al,alice2\n"
    "alice:x:1001:alice\n";

struct Good {
  std::string spec;
  ResolvedUser expected;
};

class Rootfs {
 public:
  Rootfs() {
    char name[] = "/tmp/kw-passwd-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
    std::filesystem::create_directories(path + "/etc");
  }
  ~Rootfs() { std::filesystem::remove_all(path); }
  Rootfs(const Rootfs&) = delete;
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(path + name, std::ios::binary) << text;
  }
  std::string path;
};

}  // namespace

TEST_CASE("users that are there, by name and by number") {
  const Good cases[] = {
      {"", {0, 0, {0, 10}, "/root"}},
      {"0", {0, 0, {0, 10}, "/root"}},
      {"root", {0, 0, {0, 10}, "/root"}},
      {"alice", {1000, 1001, {1001, 10, 50}, "/home/alice"}},
      {"1000", {1000, 1001, {1001, 10, 50}, "/home/alice"}},
      {"0001000", {1000, 1001, {1001, 10, 50}, "/home/alice"}},
      {"twin", {1000, 77, {77, 50}, "/home/twin"}},
      {"homeless", {1002, 1002, {1002}, "/"}},
      {"machine$", {1003, 1003, {1003}, "/m"}},
      {"big", {4294967294u, 4294967294u, {4294967294u}, "/big"}},
      {"4294967294", {4294967294u, 4294967294u, {4294967294u}, "/big"}},
      {"alice:staff", {1000, 50, {50}, "/home/alice"}},
      {"alice:0", {1000, 0, {0}, "/home/alice"}},
      {"1000:50", {1000, 50, {50}, "/home/alice"}},
      {"31337", {31337, 0, {0}, "/"}},
      {"31337:31338", {31337, 31338, {31338}, "/"}},
      {"31337:wheel", {31337, 10, {10}, "/"}},
      {"0:4294967294", {0, 4294967294u, {4294967294u}, "/root"}},
  };
  for (const Good& each : cases) {
    CAPTURE(each.spec);
    Result<ResolvedUser> found = resolve_user(each.spec, kPasswd, kGroup);
    REQUIRE(found);
    CHECK(*found == each.expected);
  }
}

TEST_CASE("sixty odd spellings are refused, and never become root") {
  CHECK(std::size(kOddNames) == 60);
  for (const char* spec : kOddNames) {
    CAPTURE(spec);
    Result<ResolvedUser> found = resolve_user(spec, hostile_passwd(), hostile_passwd());
    REQUIRE_FALSE(found);
    CHECK(found.error().code == Errc::invalid);
    CHECK_FALSE(check_user_spec(spec));
  }
  CHECK_FALSE(check_user_spec(std::string(400, '1')));
  CHECK_FALSE(check_user_spec(std::string(400, 'a')));
  CHECK_FALSE(check_user_spec(std::string_view("al\0ice", 6)));
}

TEST_CASE("users and groups that are not there") {
  for (const char* spec : {"bob", "half", "broken", "over", "alice2"}) {
    CAPTURE(spec);
    Result<ResolvedUser> found = resolve_user(spec, kPasswd, kGroup);
    REQUIRE_FALSE(found);
    CHECK(found.error().code == Errc::not_found);
    CHECK(found.error().text ==
          "unable to find user " + std::string(spec) + ": no matching entries in passwd file");
  }
  Result<ResolvedUser> group = resolve_user("alice:nogroup", kPasswd, kGroup);
  REQUIRE_FALSE(group);
  CHECK(group.error().text == "unable to find group nogroup: no matching entries in group file");
  CHECK(resolve_user("root", "", "").error().code == Errc::not_found);
  CHECK(resolve_user("0", "", "")->uid == 0);
}

TEST_CASE("odd files: no newline at the end, CR, NUL, an endless line, too many groups") {
  CHECK(resolve_user("a", "a:x:5:6::/h:", "")->uid == 5);
  CHECK(resolve_user("a", "a:x:5:6::/h:/bin/sh\r\n", "")->home == "/h");
  std::string nul("a:x:5:6::/h\0/x:\n", 16);
  CHECK(resolve_user("a", nul, "")->home == "/");
  CHECK(resolve_user("a", std::string(1 << 20, 'a') + "\na:x:5:6::/h:", "")->uid == 5);
  std::string groups;
  for (int i = 0; i < 5000; ++i)
    groups += "g" + std::to_string(i) + ":x:" + std::to_string(i) + ":a\n";
  Result<ResolvedUser> many = resolve_user("a", "a:x:5:6::/h:", groups);
  REQUIRE_FALSE(many);
  CHECK(many.error().code == Errc::invalid);
}

TEST_CASE("the files of a root directory: within it, regular, of bounded size, read once") {
  Rootfs root;
  root.put("/etc/passwd", kPasswd);
  root.put("/etc/group", kGroup);
  Result<ContainerRoot> opened = ContainerRoot::open(root.path);
  REQUIRE(opened);
  UserDatabase users;
  CHECK(users.resolve(*opened, "alice")->uid == 1000);
  root.put("/etc/passwd", "alice:x:2000:2000::/:\n");
  CHECK(users.resolve(*opened, "alice")->uid == 2000);

  namespace fs = std::filesystem;
  std::string passwd = root.path + "/etc/passwd";
  auto replaced = [&](const std::function<void()>& put) {
    fs::remove_all(passwd);
    put();
    auto begin = std::chrono::steady_clock::now();
    Result<ResolvedUser> named = users.resolve(*opened, "alice");
    CHECK(users.resolve(*opened, "1000")->uid == 1000);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(1));
    return !named;
  };
  CHECK(replaced([&] { ::mkfifo(passwd.c_str(), 0644); }));
  CHECK(replaced([&] { fs::create_directory(passwd); }));
  CHECK(replaced([&] { fs::create_symlink("/dev/zero", passwd); }));
  CHECK(replaced([&] { fs::create_symlink("passwd", passwd); }));
  CHECK(replaced([&] { fs::create_symlink("/etc/passwd-of-the-host", passwd); }));
  CHECK(replaced([&] { fs::create_symlink("../../../../../../etc/hostname", passwd); }));
  CHECK(replaced([&] {
    root.put("/etc/passwd", "");
    fs::resize_file(passwd, 20ull << 30);
  }));
  CHECK(replaced([] {}));
  // A link out of the root leads to the root's own file.
  root.put("/etc/shadow", "alice:x:3000:3000::/:\n");
  fs::create_symlink("/etc/shadow", passwd);
  CHECK(users.resolve(*opened, "alice")->uid == 3000);
}
