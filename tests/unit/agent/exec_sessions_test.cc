// What is remembered of exec sessions, and what is forgotten first.
#include "agent/exec_sessions.h"

#include "runtime/loop.h"
#include "tests/catch.h"

using namespace keepwell;

TEST_CASE(
    "a session is found until it is forgotten; a container's end forgets what was not started") {
  std::unique_ptr<Loop> loop = *Loop::open();
  {
    ExecSessions execs(*loop, 1);
    const auto one = *execs.create("c1", "web", 1, {});
    const auto two = *execs.create("c1", "web", 1, {});
    CHECK(one->id.size() == 64);
    CHECK(one->id != two->id);
    CHECK(execs.unfinished("c1").size() == 2);
    CHECK(execs.unfinished("c2").empty());
    execs.finish(*one, 7);
    CHECK(execs.unfinished("c1") == std::vector<std::string>{two->id});
    execs.container_ended("c1");
    CHECK(execs.find(two->id) == nullptr);
    REQUIRE(execs.find(one->id) != nullptr);
    CHECK(execs.find(one->id)->exit_code == 7);
    CHECK(execs.find("nosuch") == nullptr);
  }
  loop->close();
}

TEST_CASE("of those that have ended the last two thousand are kept") {
  std::unique_ptr<Loop> loop = *Loop::open();
  {
    ExecSessions execs(*loop, 1);
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < kEndedExecsMax + 100; ++i) {
      const auto exec = *execs.create("c1", "web", 1, {});
      ids.push_back(exec->id);
      execs.finish(*exec, static_cast<int>(i));
      CHECK(execs.find(exec->id) == exec);
    }
    CHECK(execs.size() == kEndedExecsMax);
    CHECK(execs.find(ids[99]) == nullptr);
    REQUIRE(execs.find(ids[100]) != nullptr);
    CHECK(execs.find(ids[100])->exit_code == 100);
  }
  loop->close();
}

TEST_CASE("one that nobody starts is forgotten after two thousand others") {
  std::unique_ptr<Loop> loop = *Loop::open();
  {
    ExecSessions execs(*loop, 1);
    const auto started = *execs.create("c1", "web", 1, {});
    started->state = Exec::State::running;
    const auto forgotten = *execs.create("c1", "web", 1, {});
    for (std::size_t i = 1; i < kExecUnstartedFor; ++i) {
      REQUIRE(execs.create("c1", "web", 1, {}));
      CHECK(execs.find(forgotten->id) == forgotten);
    }
    REQUIRE(execs.create("c1", "web", 1, {}));
    CHECK(execs.find(forgotten->id) == nullptr);
    CHECK(execs.find(started->id) == started);
    CHECK(execs.size() == kExecUnstartedFor + 1);
  }
  loop->close();
}

TEST_CASE("when too many are remembered, finished ones make room and others do not") {
  std::unique_ptr<Loop> loop = *Loop::open();
  {
    ExecSessions execs(*loop, 1);
    for (std::size_t i = 0; i < kExecsMax; ++i) {
      const auto exec = *execs.create("c1", "web", 1, {});
      exec->state = Exec::State::running;
      if (i < 10) execs.finish(*exec, 0);
    }
    for (int i = 0; i < 10; ++i) {
      const auto exec = execs.create("c1", "web", 1, {});
      REQUIRE(exec);
      (*exec)->state = Exec::State::running;
      CHECK(execs.size() == kExecsMax);
    }
    const auto refused = execs.create("c1", "web", 1, {});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::unavailable);
  }
  loop->close();
}
