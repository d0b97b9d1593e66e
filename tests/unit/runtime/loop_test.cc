// The wrappers around libuv: every owner may die at any time, and the loop closes clean.
#include "runtime/loop.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <memory>
#include <optional>

#include "runtime/fd_watch.h"
#include "runtime/listener.h"
#include "runtime/signal_watch.h"
#include "runtime/stream.h"
#include "runtime/timer.h"
#include "tests/catch.h"
#include "tests/unit/runtime/keeper_rig.h"

using namespace keepwell;
using keepwell::test::open_descriptors;
using keepwell::test::TempDir;

namespace {

struct Pair {
  UniqueFd a, b;
};

Pair socket_pair() {
  std::array<int, 2> ends{};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::unique_ptr<Loop> open_loop() {
  auto loop = Loop::open();
  REQUIRE(loop);
  return std::move(*loop);
}

// Turns LOOP until DONE; false after 10 s.
bool run_until(Loop& loop, const std::function<bool()>& done) {
  Instant deadline = Loop::now().mono + std::chrono::seconds(10);
  Timer tick(loop);
  while (!done() && Loop::now().mono < deadline) {
    tick.start_after(std::chrono::milliseconds(2), [] {});
    loop.run_once();
  }
  return done();
}

}  // namespace

TEST_CASE("a timer never fires early, once, and in order", "[loop]") {
  auto loop = open_loop();
  Instant begin = Loop::now().mono;
  std::optional<Instant> fired;
  std::string order;
  {
    Timer timer(*loop), at_once(*loop), stopped(*loop);
    timer.start_after(std::chrono::microseconds(2500), [&] {
      fired = Loop::now().mono;
      order += "t";
    });
    stopped.start_after(Duration(0), [&] { order += "!"; });
    stopped.stop();
    at_once.start_after(Duration(0), [&] { order += "0"; });
    CHECK(timer.armed());
    CHECK(order.empty());
    loop->run();
    CHECK(!timer.armed());
  }
  REQUIRE(fired);
  CHECK(*fired - begin >= std::chrono::microseconds(2500));
  CHECK(order == "0t");
  loop->close();
}

TEST_CASE("owners may die in their own callbacks", "[loop]") {
  auto loop = open_loop();
  int called = 0;
  auto timer = std::make_unique<Timer>(*loop);
  timer->start_after(Duration(0), [&] {
    timer.reset();
    ++called;
  });
  Pair pair = socket_pair();
  REQUIRE(write(pair.b.get(), "x", 1) == 1);
  auto watch = std::make_unique<FdWatch>(*loop);
  REQUIRE(watch->start(pair.a.get(), {.readable = true}, [&](Ready ready) {
    CHECK(ready.readable);
    watch.reset();
    ++called;
  }));
  auto signals = std::make_unique<SignalWatch>(*loop);
  REQUIRE(signals->start(SIGUSR1, [&] {
    signals.reset();
    ++called;
  }));
  raise(SIGUSR1);
  auto unused = std::make_unique<Timer>(*loop);
  unused->start_after(std::chrono::hours(1), [&] { called = 100; });
  unused.reset();
  REQUIRE(run_until(*loop, [&] { return called == 3; }));
  loop->close();
}

TEST_CASE("a watch's callback may stop it, start it again, and change its interest", "[loop]") {
  auto loop = open_loop();
  Pair pair = socket_pair();
  FdWatch* watch = nullptr;
  std::string seen;
  {
    FdWatch owned(*loop);
    watch = &owned;
    CHECK(!owned.start(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), {.readable = true}, {}));
    REQUIRE(owned.start(pair.a.get(), {.writable = true}, [&](Ready) {
      seen += "w";
      watch->stop();
      REQUIRE(watch->start(pair.a.get(), {.readable = true}, [&](Ready) {
        seen += "r";
        watch->change({});
      }));
    }));
    REQUIRE(run_until(*loop, [&] { return seen == "w"; }));
    REQUIRE(write(pair.b.get(), "x", 1) == 1);
    REQUIRE(run_until(*loop, [&] { return seen == "wr"; }));
    for (int i = 0; i < 5; ++i) loop->poll();
    CHECK(seen == "wr");
  }
  loop->close();
}

TEST_CASE("a stream carries a megabyte through a slow reader, and its end", "[stream]") {
  auto loop = open_loop();
  Pair pair = socket_pair();
  std::string sent(1 << 20, '\0');
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 + i / 251);
  std::string got;
  bool ended = false;
  int drained = 0;
  auto writer =
      std::move(*Stream::open(*loop, std::move(pair.a), {.on_drained = [&] { ++drained; }}));
  auto reader = std::move(*Stream::open(
      *loop, std::move(pair.b),
      {.on_data = [&](std::string_view data) { got += data; }, .on_end = [&] { ended = true; }}));
  CHECK(!writer->write(sent));  // more than the mark is queued
  writer->shutdown_write();
  CHECK(writer->queued() > 0);
  for (int i = 0; i < 10; ++i) loop->poll();
  CHECK(got.empty());  // reading is paused at first: the bytes wait with the sender
  reader->resume_reading();
  REQUIRE(run_until(*loop, [&] { return ended; }));
  CHECK((got == sent));
  CHECK(writer->queued() == 0);
  REQUIRE(run_until(*loop, [&] { return drained == 1; }));
  reader->write("still open this way");
  std::string back;
  writer->set_handlers({.on_data = [&](std::string_view data) { back += data; }});
  writer->resume_reading();
  REQUIRE(run_until(*loop, [&] { return back == "still open this way"; }));
  writer.reset();
  reader.reset();
  loop->close();
}

TEST_CASE("a broken stream says so once, from the loop", "[stream]") {
  auto loop = open_loop();
  Pair pair = socket_pair();
  std::vector<std::string> errors;
  auto stream = std::move(*Stream::open(
      *loop, std::move(pair.a), {.on_broken = [&](Error error) { errors.push_back(error.text); }}));
  pair.b.reset();
  stream->write("x");
  stream->write("y");
  CHECK(errors.empty());
  REQUIRE(run_until(*loop, [&] { return !errors.empty(); }));
  for (int i = 0; i < 5; ++i) loop->poll();
  REQUIRE(errors.size() == 1);
  CHECK_THAT(errors[0], StartsWith("cannot write"));
  stream.reset();
  loop->close();
}

TEST_CASE("a stream may be destroyed by any of its handlers", "[stream]") {
  auto loop = open_loop();
  for (int which = 0; which < 4; ++which) {
    Pair pair = socket_pair();
    std::unique_ptr<Stream> stream;
    bool called = false;
    auto die = [&] {
      stream.reset();
      called = true;
    };
    stream = std::move(*Stream::open(*loop, std::move(pair.a),
                                     {.on_data = [&](std::string_view) { die(); },
                                      .on_end = die,
                                      .on_broken = [&](Error) { die(); },
                                      .on_drained = die}));
    if (which == 0) REQUIRE(write(pair.b.get(), "data", 4) == 4);
    if (which != 2) stream->resume_reading();
    if (which == 1 || which == 2) pair.b.reset();
    if (which == 2) stream->write("x");
    if (which == 3) stream->shutdown_write();
    REQUIRE(run_until(*loop, [&] { return called; }));
    CHECK(!stream);
  }
  loop->close();
}

TEST_CASE("a stream gives its descriptor up", "[stream]") {
  auto loop = open_loop();
  Pair pair = socket_pair();
  auto stream = std::move(*Stream::open(*loop, std::move(pair.a), {}));
  stream->resume_reading();
  UniqueFd fd = stream->release();
  CHECK(stream->closed());
  CHECK(!stream->write("dropped") == false);
  REQUIRE(write(fd.get(), "x", 1) == 1);
  char byte = 0;
  CHECK(read(pair.b.get(), &byte, 1) == 1);
  stream.reset();
  loop->close();
}

TEST_CASE("a unix socket is made safely", "[listener]") {
  TempDir dir;
  std::string path = dir.path + "/a.sock";
  UniqueFd fd = std::move(*listen_unix({path, "", 0600}));
  struct stat st {};
  REQUIRE(lstat(path.c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0600);
  fd = std::move(*listen_unix({path, "0", 0660}));  // the old one is replaced
  REQUIRE(lstat(path.c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0660);
  CHECK(st.st_gid == 0);

  auto refused = [](const UnixSocketSpec& spec) {
    auto result = listen_unix(spec);
    return result ? "" : result.error().text;
  };
  CHECK_THAT(refused({dir.path + "/" + std::string(100, 'x'), "", 0600}), ContainsSubstring("107"));
  CHECK_THAT(refused({"relative", "", 0600}), ContainsSubstring("absolute"));
  CHECK_THAT(refused({path, "no-such-group", 0600}), ContainsSubstring("no-such-group"));
  REQUIRE(symlink("/dev/null", (dir.path + "/link").c_str()) == 0);
  CHECK_THAT(refused({dir.path + "/link", "", 0600}), ContainsSubstring("not a socket"));
  REQUIRE(mkdir((dir.path + "/open").c_str(), 0700) == 0);
  REQUIRE(chmod((dir.path + "/open").c_str(), 0777) == 0);
  CHECK_THAT(refused({dir.path + "/open/s", "", 0600}), ContainsSubstring("others"));
  CHECK_THAT(refused({dir.path + "/absent/s", "", 0600}), ContainsSubstring("absent"));
}

TEST_CASE("connections are accepted, and who they are is known", "[listener]") {
  auto loop = open_loop();
  TempDir dir;
  std::string path = dir.path + "/a.sock";
  std::vector<UniqueFd> accepted;
  auto listener =
      std::move(*Listener::open(*loop, std::move(*listen_unix({path, "", 0600})),
                                [&](UniqueFd fd) { accepted.push_back(std::move(fd)); }));
  UniqueFd first = std::move(*connect_unix(path));
  REQUIRE(run_until(*loop, [&] { return accepted.size() == 1; }));
  auto who = peer_credentials(accepted[0].get());
  REQUIRE(who);
  CHECK(who->uid == getuid());
  CHECK(who->pid == getpid());

  listener->pause();
  UniqueFd second = std::move(*connect_unix(path));
  for (int i = 0; i < 5; ++i) loop->poll();
  CHECK(accepted.size() == 1);
  listener->resume();
  REQUIRE(run_until(*loop, [&] { return accepted.size() == 2; }));
  listener.reset();
  loop->close();
}

TEST_CASE("running out of descriptors neither hangs clients nor spins", "[listener]") {
  auto loop = open_loop();
  TempDir dir;
  std::string path = dir.path + "/a.sock";
  std::vector<UniqueFd> accepted;
  auto listener =
      std::move(*Listener::open(*loop, std::move(*listen_unix({path, "", 0600})),
                                [&](UniqueFd fd) { accepted.push_back(std::move(fd)); }));
  UniqueFd client = std::move(*connect_unix(path));
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none{static_cast<rlim_t>(client.get()) + 1, before.rlim_max};  // nothing above is free
  std::vector<UniqueFd> fillers;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  for (int fd = dup(client.get()); fd >= 0; fd = dup(client.get())) fillers.emplace_back(fd);
  int turns = 0;
  char byte = 0;
  bool closed = run_until(*loop, [&] {
    ++turns;
    return recv(client.get(), &byte, 1, MSG_DONTWAIT) == 0;
  });
  setrlimit(RLIMIT_NOFILE, &before);
  CHECK(closed);
  CHECK(turns < 50);
  CHECK(accepted.empty());
  fillers.clear();
  UniqueFd again = std::move(*connect_unix(path));
  CHECK(run_until(*loop, [&] { return accepted.size() == 1; }));
  listener.reset();
  loop->close();
}

TEST_CASE("TCP addresses are literals", "[listener]") {
  UniqueFd fd = std::move(*listen_tcp("127.0.0.1:0"));
  CHECK_THAT(local_address(fd.get()), StartsWith("127.0.0.1:"));
  CHECK_THAT(listen_tcp(local_address(fd.get())).error().text, ContainsSubstring("in use"));
  CHECK(listen_tcp("localhost:0"));
  CHECK(listen_tcp(":0"));
  for (const char* bad : {"", "1.2.3.4", "example.org:80", "127.0.0.1:", "127.0.0.1:70000",
                          "127.0.0.1:80x", "[::1:80", "127.0.0.1:-1"}) {
    auto result = listen_tcp(bad);
    REQUIRE(!result);
    CHECK(result.error().code == Errc::invalid);
  }
}

TEST_CASE("nothing is left open", "[loop]") {
  std::size_t before = open_descriptors(getpid());
  for (int i = 0; i < 20; ++i) {
    auto loop = open_loop();
    Pair pair = socket_pair();
    auto stream = std::move(*Stream::open(*loop, std::move(pair.a), {}));
    stream->resume_reading();
    stream->write("x");
    loop->poll();
    stream.reset();
    loop->close();
  }
  CHECK(open_descriptors(getpid()) == before);
}
