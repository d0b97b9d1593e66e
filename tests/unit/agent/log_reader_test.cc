// Reading a log that is there, one that grows, and one that is rotated while it is read.
#include "agent/log_reader.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "runtime/loop.h"
#include "tests/catch.h"

using namespace keepwell;

namespace {

struct Log {
  std::unique_ptr<Loop> loop = *Loop::open();
  std::string directory;
  std::string path;
  std::string got;
  bool ended = false;
  bool blocked = false;
  std::unique_ptr<LogReader> reader;

  Log() {
    char name[] = "/tmp/kw-log-XXXXXX";
    directory = ::mkdtemp(name);
    path = directory + "/log";
  }
  ~Log() {
    reader.reset();
    loop->close();
    for (const char* end : {"", ".1", ".2"}) ::unlink((path + end).c_str());
    ::rmdir(directory.c_str());
  }

  void append(const std::string& text, const std::string& end = "") const {
    std::ofstream(path + end, std::ios::app)
        << "2026-11-24T20:00:00.000000001Z stdout F " << text << "\n";
  }
  void rotate() const {
    std::rename((path + ".1").c_str(), (path + ".2").c_str());
    std::rename(path.c_str(), (path + ".1").c_str());
  }

  void read(std::optional<std::uint64_t> tail, bool follow) {
    LogReader::Options options;
    options.path = path;
    options.query.framed = false;
    options.tail = tail;
    options.follow = follow;
    reader = std::make_unique<LogReader>(*loop, std::move(options),
                                         LogReader::Handlers{.on_bytes =
                                                                 [this](std::string_view bytes) {
                                                                   got += bytes;
                                                                   return !blocked;
                                                                 },
                                                             .on_end = [this] { ended = true; },
                                                             .on_lost = nullptr});
    reader->start();
  }
  void turn_until(const std::function<bool()>& done) const {
    const Instant end = Loop::now().mono + std::chrono::seconds(3);
    while (!done() && Loop::now().mono < end) loop->poll();
    CHECK(done());
  }
  std::string tail(std::optional<std::uint64_t> lines) {
    got.clear();
    ended = false;
    read(lines, false);
    turn_until([this] { return ended; });
    return got;
  }
};

}  // namespace

TEST_CASE("the tail of a log, over rotated files") {
  Log log;
  log.append("1", ".2");
  log.append("2", ".2");
  log.append("3", ".1");
  log.append("4");
  CHECK(log.tail(std::nullopt) == "1\n2\n3\n4\n");
  CHECK(log.tail(0) == "");
  CHECK(log.tail(1) == "4\n");
  CHECK(log.tail(2) == "3\n4\n");
  CHECK(log.tail(3) == "2\n3\n4\n");
  CHECK(log.tail(4) == "1\n2\n3\n4\n");
  CHECK(log.tail(9) == "1\n2\n3\n4\n");
}

TEST_CASE("a follower sees what is appended, also after a rotation, and ends when the writer has") {
  Log log;
  log.append("old");
  log.read(0, true);
  for (int i = 0; i < 5; ++i) log.loop->poll();
  log.append("1");
  log.turn_until([&] { return log.got == "1\n"; });
  log.append("2");
  log.rotate();
  log.append("3");
  log.turn_until([&] { return log.got == "1\n2\n3\n"; });
  log.append("4");
  log.turn_until([&] { return log.got == "1\n2\n3\n4\n"; });
  CHECK_FALSE(log.ended);
  log.reader->finish();
  log.append("5");
  log.turn_until([&] { return log.ended; });
  CHECK(log.got == "1\n2\n3\n4\n5\n");
}

TEST_CASE("a follower may come before the log") {
  Log log;
  log.read(0, true);
  for (int i = 0; i < 5; ++i) log.loop->poll();
  log.append("first");
  log.turn_until([&] { return log.got == "first\n"; });
}

TEST_CASE("a slow reader gets no more until it asks, and then everything") {
  Log log;
  std::string all;
  for (int i = 0; i < 20'000; ++i) all += std::to_string(i) + "\n";
  {
    std::ofstream out(log.path);
    for (int i = 0; i < 20'000; ++i) out << "2026-11-24T20:00:00.000000001Z stdout F " << i << "\n";
  }
  log.blocked = true;
  log.read(std::nullopt, true);
  for (int i = 0; i < 20; ++i) log.loop->poll();
  CHECK(log.got.size() < all.size());
  log.reader->finish();
  log.blocked = false;
  log.reader->resume();
  log.turn_until([&] { return log.ended; });
  CHECK(log.got == all);
}
