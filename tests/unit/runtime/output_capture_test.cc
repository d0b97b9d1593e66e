#include "runtime/output_capture.h"

#include <unistd.h>

#include "runtime/loop.h"
#include "tests/catch.h"

using namespace keepwell;

namespace {

void say(const UniqueFd& to, const std::string& text) {
  REQUIRE(write(to.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

}  // namespace

TEST_CASE("the beginning of an output is kept and all of it counted") {
  auto loop = Loop::open();
  REQUIRE(loop.has_value());
  {
    OutputCapture capture(**loop);
    auto in = capture.open(8);
    REQUIRE(in.has_value());
    say(*in, "12345");
    (*loop)->run_once();
    say(*in, "67890");
    in->reset();
    bool done = false;
    capture.finish(std::chrono::seconds(10), [&] { done = true; });
    CHECK_FALSE(done);
    while (!done) (*loop)->run_once();
    CHECK(capture.kept() == "12345678");
    CHECK(capture.total_bytes() == 10);
  }
  (*loop)->close();
}

TEST_CASE("a pipe that somebody holds open is left after the grace") {
  auto loop = Loop::open();
  REQUIRE(loop.has_value());
  {
    OutputCapture capture(**loop);
    auto held = capture.open(100);
    REQUIRE(held.has_value());
    say(*held, "said");
    bool done = false;
    capture.finish(std::chrono::milliseconds(20), [&] { done = true; });
    while (!done) (*loop)->run_once();
    CHECK(capture.kept() == "said");
    CHECK_FALSE(capture.ended());
  }
  (*loop)->close();
}

TEST_CASE("a flood is told once") {
  auto loop = Loop::open();
  REQUIRE(loop.has_value());
  {
    OutputCapture capture(**loop);
    int floods = 0;
    auto in = capture.open(4, 30000, [&] { ++floods; });
    REQUIRE(in.has_value());
    for (int i = 0; i < 10; ++i) {
      say(*in, std::string(10000, 'x'));
      (*loop)->run_once();
    }
    CHECK(floods == 1);
    CHECK(capture.total_bytes() == 100000);
    CHECK(capture.kept() == "xxxx");
  }
  (*loop)->close();
}
