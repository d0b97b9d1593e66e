#include "exporters/log_line.h"

#include <algorithm>

#include "exporters/time_text.h"
#include "exporters/utf8.h"
#include "fixtures.h"

using namespace keepwell;
using namespace std::chrono_literals;

namespace {

constexpr const char* kLog =
    "2026-11-24T20:00:01.000000000Z stdout F one\n"
    "2026-11-24T20:00:02.000000000Z stderr F two\n"
    "2026-11-24T20:00:03.000000000Z stdout P thr\n"
    "2026-11-24T20:00:03.500000000Z stdout F ee\n"
    "2026-11-24T20:00:04.000000000Z stdout F \n"
    "2026-11-24T20:00:05.123456789+01:00 stdout F five\n";

std::string select(const LogQuery& query, std::string_view log, std::size_t step = 1 << 20) {
  LogSelector selector(query);
  std::string out;
  for (; !log.empty(); log.remove_prefix(std::min(step, log.size()))) {
    selector.feed(log.substr(0, step), out);
  }
  return out;
}

std::string tail(std::uint64_t lines, const std::string& log, std::size_t step) {
  TailFinder finder(lines);
  std::size_t end = log.size();
  while (end > 0 && !finder.feed_backwards(std::string_view(log).substr(end - std::min(step, end),
                                                                        std::min(step, end)))) {
    end -= std::min(step, end);
  }
  if (!finder.feed_backwards({})) return log;
  return log.substr(log.size() - finder.bytes_from_end());
}

}  // namespace

TEST_CASE("stored lines are read") {
  const auto record = parse_log_line("2026-11-24T20:00:00.5Z stderr P a b  c");
  REQUIRE(record);
  CHECK(record->at == kStart + 500ms);
  CHECK(record->stream == LogStream::err);
  CHECK(record->partial);
  CHECK(record->text == "a b  c");
  CHECK(parse_log_line("2026-11-24T20:00:00Z stdout F")->text.empty());
  for (const char* line : {"", "x", "2026-11-24T20:00:00Z", "2026-11-24T20:00:00Z stdin F x",
                           "2026-11-24T20:00:00Z stdout X x", "2026-11-24T20:00:00 Z stdout F x"}) {
    CHECK_FALSE(parse_log_line(line));
  }
}

TEST_CASE("raw output is what the program wrote") {
  LogQuery query;
  query.framed = false;
  CHECK(select(query, kLog) == "one\ntwo\nthree\n\nfive\n");
  query.want_stderr = false;
  CHECK(select(query, kLog) == "one\nthree\n\nfive\n");
}

TEST_CASE("framed output: one frame for each stored message") {
  LogQuery query;
  query.want_stdout = false;
  CHECK(select(query, kLog) == std::string("\2\0\0\0\0\0\0\4two\n", 12));
  query = {};
  query.want_stderr = false;
  CHECK(select(query, "2026-11-24T20:00:03Z stdout P thr\n2026-11-24T20:00:03Z stdout F ee\n") ==
        std::string("\1\0\0\0\0\0\0\3thr\1\0\0\0\0\0\0\3ee\n", 22));
}

TEST_CASE("timestamps stand before a line and never in its middle") {
  LogQuery query;
  query.framed = false;
  query.timestamps = true;
  query.since = kStart + 3s;
  query.until = kStart + 4s;
  CHECK(select(query, kLog) ==
        "2026-11-24T20:00:03.000000000Z three\n"
        "2026-11-24T20:00:04.000000000Z \n");
}

TEST_CASE("since and until are inclusive, and until ends the reading") {
  LogQuery query;
  query.framed = false;
  query.since = kStart + 2s;
  query.until = kStart + 3500ms;
  LogSelector selector(query);
  std::string out;
  selector.feed(kLog, out);
  CHECK(out == "two\nthree\n");
  CHECK(selector.past_until());
  CHECK(selector.records() == 3);
}

TEST_CASE("pieces of any size give the same") {
  LogQuery query;
  query.timestamps = true;
  const std::string whole = select(query, kLog);
  for (std::size_t step = 1; step < 100; ++step) CHECK(select(query, kLog, step) == whole);
}

TEST_CASE("torn and endless lines are dropped and counted") {
  LogQuery query;
  query.framed = false;
  LogSelector selector(query);
  std::string out;
  selector.feed("0Z stdout F half\n", out);
  selector.feed("2026-11-24T20:00:01Z stdout F " + std::string(100000, 'x'), out);
  selector.feed(std::string(100000, 'y') + "\n2026-11-24T20:00:01Z stdout F ok\n2026-", out);
  CHECK(out == "ok\n");
  CHECK(selector.torn_lines() == 2);
  selector.end_of_file();
  CHECK(selector.torn_lines() == 3);
  selector.feed("2026-11-24T20:00:02Z stdout F next\n", out);
  CHECK(out == "ok\nnext\n");
}

TEST_CASE("tail counts whole lines, however the file is read") {
  const std::string log = kLog;
  const std::size_t line3 = log.find("2026-11-24T20:00:03.0");
  for (std::size_t step = 1; step < log.size() + 2; ++step) {
    INFO("step " << step);
    CHECK(tail(0, log, step).empty());
    CHECK(tail(1, log, step) == log.substr(log.find("2026-11-24T20:00:05")));
    CHECK(tail(3, log, step) == log.substr(line3));  // with both parts of "three"
    CHECK(tail(5, log, step) == log);
    CHECK(tail(100, log, step) == log);
  }
}

TEST_CASE("an unfinished line at the end is a line") {
  const std::string log = std::string(kLog) + "2026-11-24T20:00:06Z stdout P login: \n";
  CHECK(tail(1, log, 7) == "2026-11-24T20:00:06Z stdout P login: \n");
  CHECK(tail(2, log, 7) == log.substr(log.find("2026-11-24T20:00:05")));
}

TEST_CASE("UTF-8 is repaired byte by byte, as Go does") {
  CHECK(valid_utf8("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80") ==
        "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
  const std::string bad = "\xEF\xBF\xBD";
  CHECK(valid_utf8("\xff") == bad);
  CHECK(valid_utf8("\xe2\x82") == bad + bad);
  CHECK(valid_utf8("\xed\xa0\x80") == bad + bad + bad);  // a surrogate
  CHECK(valid_utf8("\xc0\xaf") == bad + bad);            // overlong
  CHECK(valid_utf8("\xf4\x90\x80\x80x") == bad + bad + bad + bad + "x");
  CHECK(terminal_text("a\x1b[31m\r\t\x7f") == "a\\x1b[31m\\x0d\\t\\x7f");
}
