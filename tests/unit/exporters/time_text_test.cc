#include "exporters/time_text.h"

#include "fixtures.h"

using namespace keepwell;
using namespace std::chrono_literals;

TEST_CASE("times read as Go writes them") {
  CHECK(rfc3339_nano(kStart) == "2026-11-24T20:00:00Z");
  CHECK(rfc3339_nano(kStart + 123400us) == "2026-11-24T20:00:00.1234Z");
  CHECK(rfc3339_nano(kStart + 1ns, 5400) == "2026-11-24T21:30:00.000000001+01:30");
  CHECK(rfc3339_nano_fixed(kStart, -18000) == "2026-11-24T15:00:00.000000000-05:00");
  CHECK(rfc3339_nano(std::optional<WallTime>{}) == "0001-01-01T00:00:00Z");
  CHECK(rfc3339_nano(WallTime{-1ns}) == "1969-12-31T23:59:59.999999999Z");
  CHECK(ps_time(kStart, 3600, "CET") == "2026-11-24 21:00:00 +0100 CET");
}

TEST_CASE("every written time is read back") {
  for (const auto nanos : {0LL, 1LL, -1LL, 951782400'000000000LL, 1795550400'123456789LL,
                           4102444800'000000001LL, -2208988800'000000000LL}) {
    const WallTime at{Duration{nanos}};
    for (int offset : {0, 3600, -12600, 50400}) {
      CHECK(parse_rfc3339(rfc3339_nano(at, offset)).value() == at);
      CHECK(parse_rfc3339(rfc3339_nano_fixed(at, offset)).value() == at);
    }
  }
}

TEST_CASE("what is no time is refused") {
  for (const char* text :
       {"", "x", "2026-13-01", "2026-02-29", "2026-11-24T", "2026-11-24T25:00:00Z",
        "2026-11-24T20:00:00Zx", "2026-11-24T20:00:00.Z", "2026-11-24T20:00:00+1", "26-11-24",
        "0001-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "2026-11-24T20:00:00+25:00"}) {
    INFO(text);
    REQUIRE_FALSE(parse_rfc3339(text));
    CHECK(parse_rfc3339(text).error().text.starts_with("cannot read time"));
  }
  CHECK(parse_rfc3339("2026-11-24").value() == kStart - 20h);
  CHECK(parse_rfc3339("2026-11-24T20:00").value() == kStart);
  CHECK(parse_rfc3339("2028-02-29t00:00:00.123456789123z"));
}

TEST_CASE("unix times have a fraction padded on the right") {
  CHECK(parse_unix_time("1795550400").value() == kStart);
  CHECK(parse_unix_time("1795550400.5").value() == kStart + 500ms);
  CHECK(parse_unix_time("1795550400.000000001").value() == kStart + 1ns);
  CHECK(parse_unix_time("-1.5").value() == WallTime{-1500ms});
  for (const char* text : {"", "-", "--1", "1.", "1.x", "1e3", "99999999999", "1 ", "+1"}) {
    INFO(text);
    CHECK_FALSE(parse_unix_time(text));
  }
}

TEST_CASE("the command line takes all three") {
  CHECK(parse_time_argument("10m", kStart).value() == kStart - 10min);
  CHECK(parse_time_argument("1795550400", kStart).value() == kStart);
  CHECK(parse_time_argument("2026-11-24", kStart).value() == kStart - 20h);
  CHECK_FALSE(parse_time_argument("yesterday", kStart));
  CHECK_FALSE(parse_time_argument("-5m", kStart));
}

TEST_CASE("durations read as go-units prints them") {
  const std::pair<Duration, const char*> cases[] = {{-5s, "Less than a second"},
                                                    {0s, "Less than a second"},
                                                    {999ms, "Less than a second"},
                                                    {1s, "1 second"},
                                                    {1999ms, "1 second"},
                                                    {2s, "2 seconds"},
                                                    {59s, "59 seconds"},
                                                    {60s, "About a minute"},
                                                    {119s, "About a minute"},
                                                    {2min, "2 minutes"},
                                                    {59min, "59 minutes"},
                                                    {60min, "About an hour"},
                                                    {89min, "About an hour"},
                                                    {90min, "2 hours"},
                                                    {47h, "47 hours"},
                                                    {48h, "2 days"},
                                                    {24h * 13, "13 days"},
                                                    {24h * 14, "2 weeks"},
                                                    {24h * 59, "8 weeks"},
                                                    {24h * 60, "2 months"},
                                                    {24h * 729, "24 months"},
                                                    {24h * 730, "2 years"}};
  for (const auto& [duration, text] : cases) CHECK(human_duration(duration) == text);
}

TEST_CASE("sizes read as go-units prints them") {
  CHECK(human_size(0) == "0B");
  CHECK(human_size(999) == "999B");
  CHECK(human_size(1000) == "1kB");
  CHECK(human_size(12345) == "12.3kB");
  CHECK(human_size(9999999) == "10MB");
  CHECK(human_size(999999) == "1MB");
}
