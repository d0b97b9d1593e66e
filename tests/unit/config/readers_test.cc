// The pure readers below the loader: durations, sizes, signals, words, names.
#include <limits>

#include "config/bytes.h"
#include "config/duration.h"
#include "config/paths.h"
#include "config/shell_words.h"
#include "config/signals.h"
#include "config/suggest.h"
#include "config/utf8.h"
#include "tests/catch.h"

using namespace keepwell;
using namespace std::chrono_literals;

TEST_CASE("durations are read with every unit, fractions and several parts") {
  struct Case {
    const char* text;
    Duration value;
  };
  const Case cases[] = {
      {"0", 0ns},
      {"0s", 0ns},
      {"10s", 10s},
      {"1m30s", 90s},
      {"1h5m30s20ms", 1h + 5min + 30s + 20ms},
      {"500ms", 500ms},
      {"250us", 250us},
      {"250\xC2\xB5s", 250us},
      {"250\xCE\xBCs", 250us},
      {"7ns", 7ns},
      {"1.5h", 90min},
      {".5s", 500ms},
      {"2.s", 2s},
      {"1d", 24h},
      {"2w", 336h},
      {"0.000000001s", 1ns},
      {"0.0000000001s", 0ns},
      {"1s1s", 2s},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    Result<Duration> value = parse_duration(c.text);
    REQUIRE(value);
    CHECK(*value == c.value);
  }
}

TEST_CASE("what is no duration is refused with what would be right") {
  for (const char* text :
       {"",      "-1s",  "10", "s",   "1",    "1x",  "1s 2s",      " 1s",
        "1s ",   "1.s.", ".s", ".",   "1e3s", "+1s", "999999999w", "99999999999999999999s",
        "1h-1s", "0x1s", "1S", "\xff"}) {
    INFO(text);
    Result<Duration> value = parse_duration(text);
    REQUIRE_FALSE(value);
    CHECK(value.error().code == Errc::invalid);
    CHECK_THAT(value.error().text, StartsWith("cannot read the duration"));
  }
  CHECK_THAT(parse_duration("10").error().text, ContainsSubstring("write 10s"));
}

TEST_CASE("durations are printed as Go prints them and read back the same") {
  struct Case {
    Duration value;
    const char* text;
  };
  const Case cases[] = {
      {0ns, "0s"},
      {1ns, "1ns"},
      {1500ns, "1.5\xC2\xB5s"},
      {500ms, "500ms"},
      {1500ms, "1.5s"},
      {90s, "1m30s"},
      {2h, "2h0m0s"},
      {1h + 1ns, "1h0m0.000000001s"},
      {-90s, "-1m30s"},
      {100us, "100\xC2\xB5s"},
      {59999999999ns, "59.999999999s"},
  };
  for (const Case& c : cases) CHECK(format_duration(c.value) == c.text);
  for (std::int64_t n = 1; n < std::numeric_limits<std::int64_t>::max() / 7; n = n * 7 + 3) {
    Result<Duration> back = parse_duration(format_duration(Duration{n}));
    REQUIRE(back);
    CHECK(back->count() == n);
  }
  Duration longest = Duration::max();
  CHECK(parse_duration(format_duration(longest)).value() == longest);
  CHECK(format_duration(Duration::min()) == "-2562047h47m16.854775808s");
}

TEST_CASE("sizes") {
  CHECK(parse_bytes("1024").value() == 1024);
  CHECK(parse_bytes("64m").value() == 64 << 20);
  CHECK(parse_bytes("64MB").value() == 64 << 20);
  CHECK(parse_bytes("64MiB").value() == 64 << 20);
  CHECK(parse_bytes("1.5k").value() == 1536);
  CHECK(parse_bytes("10b").value() == 10);
  CHECK(parse_bytes("2 g").value() == std::int64_t{2} << 30);
  for (const char* text :
       {"", "-1", "m", "1x", "1mm", "9999999999999999999", "9000p00", "99999999p", "1ib", ".5m"}) {
    INFO(text);
    CHECK_FALSE(parse_bytes(text));
  }
  for (std::int64_t n : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1000},
                         std::int64_t{64} << 20, std::numeric_limits<std::int64_t>::max()}) {
    CHECK(parse_bytes(format_bytes(n)).value() == n);
  }
  CHECK(format_bytes(64 << 20) == "64m");
}

TEST_CASE("signals by name and number") {
  CHECK(parse_signal("SIGTERM").value() == 15);
  CHECK(parse_signal("quit").value() == 3);
  CHECK(parse_signal("9").value() == 9);
  CHECK(parse_signal("SIGRTMIN+3").value() == 37);
  CHECK(parse_signal("RTMAX-1").value() == 63);
  CHECK(parse_signal("RTMIN").value() == 34);
  CHECK_THAT(parse_signal("SIGTREM").error().text, ContainsSubstring("SIGTERM"));
  for (const char* text : {"", "0", "65", "-1", "SIG", "RTMIN-1", "RTMIN+31", "RTMIN+", "15x"}) {
    INFO(text);
    CHECK_FALSE(parse_signal(text));
  }
  for (int n = 1; n <= 64; ++n) CHECK(parse_signal(signal_name(n)).value() == n);
}

TEST_CASE("commands are split as a shell would split them") {
  using Words = std::vector<std::string>;
  CHECK(split_shell_words("").value() == Words{});
  CHECK(split_shell_words("  sleep\t100\n").value() == Words{"sleep", "100"});
  CHECK(split_shell_words("sh -c 'echo \"a b\"; x'").value() ==
        Words{"sh", "-c", "echo \"a b\"; x"});
  CHECK(split_shell_words("a\\ b \"c \\\" d\" e'f'g").value() == Words{"a b", "c \" d", "efg"});
  CHECK(split_shell_words("a '' b").value() == Words{"a", "", "b"});
  CHECK(split_shell_words("$HOME `x`").value() == Words{"$HOME", "`x`"});
  CHECK(split_shell_words("'a\\b'").value() == Words{"a\\b"});
  for (const char* text : {"'a", "\"a", "a\\", "a; b", "a && b", "a | b", "a > b", "(a)"}) {
    INFO(text);
    CHECK_FALSE(split_shell_words(text));
  }
}

TEST_CASE("the nearest name is found, and none where all are far") {
  constexpr std::string_view kNames[] = {"healthcheck", "hostname", "image", "init", "user"};
  CHECK(nearest_name("healtcheck", kNames) == "healthcheck");
  CHECK(nearest_name("health_check", kNames) == "healthcheck");
  CHECK(nearest_name("helathcheck", kNames) == "healthcheck");
  CHECK(nearest_name("Image", kNames) == "image");
  CHECK(nearest_name("users", kNames) == "user");
  CHECK(nearest_name("volumes", kNames).empty());
  CHECK(nearest_name("", kNames).empty());
  CHECK(nearest_name(std::string(100'000, 'x'), kNames).empty());
}

TEST_CASE("paths as text") {
  CHECK(absolute_path("/a/b", "c") == "/a/b/c");
  CHECK(absolute_path("/a/b", "./c/../d/") == "/a/b/d");
  CHECK(absolute_path("/a/b", "../../../x") == "/x");
  CHECK(absolute_path("/a", "/") == "/");
  CHECK(absolute_path("/a", "") == "/a");
  CHECK(directory_of("/a/b") == "/a");
  CHECK(directory_of("/b") == "/");
  CHECK(directory_of("b") == ".");
  CHECK(last_part("/a/b") == "b");
}

TEST_CASE("UTF-8 is told from other bytes") {
  constexpr auto kGood = std::string_view::npos;
  CHECK(find_bad_utf8("plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80") == kGood);
  CHECK(find_bad_utf8("a\xFF") == 1);
  CHECK(find_bad_utf8("\xC0\x80") == 0);
  CHECK(find_bad_utf8("\xE0\x80\x80") == 0);
  CHECK(find_bad_utf8("\xED\xA0\x80") == 0);
  CHECK(find_bad_utf8("\xF4\x90\x80\x80") == 0);
  CHECK(find_bad_utf8("ab\xE2\x82") == 2);
  CHECK(find_bad_utf8("\x80") == 0);
}
