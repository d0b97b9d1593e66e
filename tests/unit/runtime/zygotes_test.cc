// The keeper's side of zygotes: a real keeper (keeper_rig.h) with the fake enter's zygotes. Real
// ones are in enter_container_test.cc, enter_attack_test.cc, enter_oracle_test.cc and
// tests/e2e/test_zygote.py.
#include <fcntl.h>

#include <csignal>
#include <fstream>
#include <optional>

#include "tests/catch.h"
#include "tests/unit/runtime/keeper_rig.h"

using namespace keepwell;
using namespace keepwell::test;

namespace {

std::size_t children_of(pid_t pid) {
  std::string number = std::to_string(pid);
  std::ifstream file("/proc/" + number + "/task/" + number + "/children");
  std::size_t count = 0;
  for (pid_t child = 0; file >> child;) ++count;
  return count;
}

// A zygote (of the fake enter), and what the keeper says of it.
struct AskedZygote {
  AskedZygote(KeeperRig& rig, const std::string& how) : rig_(&rig) {
    wire::SocketPair control = wire::make_pair();
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    UniqueFd order = text_fd(how);
    id = rig.client().start_zygote(
        {null.get(), null.get(), order.get(), null.get(), control.theirs.get()}, control.ours.get(),
        [this] { serves = true; }, [this](const Error& error) { ended = error.text; });
  }
  void ask(SpawnHandlers handlers) {
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    rig_->client().spawn({.fds = {null.get()}, .durable = false, .kill_cgroup = "", .zygote = id},
                         std::move(handlers));
  }
  SpawnId id = 0;
  bool serves = false;
  std::string ended;

 private:
  KeeperRig* rig_;
};

}  // namespace

TEST_CASE("a zygote makes the processes of spawns, also of those that end before it says so",
          "[keeper]") {
  KeeperRig rig;
  rig.become_agent();
  AskedZygote zygote(rig, GENERATE("z", "l"));
  REQUIRE(rig.run_until([&] { return zygote.serves; }));
  for (int i = 0; i < 3; ++i) {
    pid_t started = 0;
    std::optional<ExitRecord> exited;
    zygote.ask({.on_started = [&](pid_t pid, UniqueFd) { started = pid; },
                .on_failed = [](Error error) { FAIL(error.text); },
                .on_exited = [&](const ExitRecord& exit) { exited = exit; }});
    REQUIRE(rig.run_until([&] { return exited.has_value(); }));
    CHECK(started > 0);
    CHECK(exited->pid == started);
    CHECK(exited->status() == 5);
  }
  rig.client().end_zygote(zygote.id);
  std::string refused;
  zygote.ask({.on_failed = [&](Error error) { refused = error.text; }});
  REQUIRE(rig.run_until([&] { return !refused.empty(); }));
  CHECK(zygote.ended.empty());  // what was ended is not told about
}

TEST_CASE("a zygote that is gone, or lies, fails what it was asked for and nothing else",
          "[keeper]") {
  KeeperRig rig;
  rig.become_agent();
  {
    AskedZygote liar(rig, "L");
    REQUIRE(rig.run_until([&] { return liar.serves; }));
    std::string failed;
    liar.ask({.on_started = [](pid_t, UniqueFd) { FAIL("it was believed"); },
              .on_failed = [&](Error error) { failed = error.text; }});
    REQUIRE(rig.run_until([&] { return !failed.empty(); }));
    CHECK(kill(rig.keeper(), 0) == 0);
    rig.client().end_zygote(liar.id);
  }
  AskedZygote broken(rig, "f");
  REQUIRE(rig.run_until([&] { return !broken.ended.empty(); }));
  CHECK_FALSE(broken.serves);
  CHECK_THAT(broken.ended, ContainsSubstring("code 7"));
  std::string failed;
  broken.ask({.on_failed = [&](Error error) { failed = error.text; }});
  REQUIRE(rig.run_until([&] { return !failed.empty(); }));
  std::optional<ExitRecord> exited;
  rig.sh("exit 3", false, {.on_exited = [&](const ExitRecord& exit) { exited = exit; }});
  REQUIRE(rig.run_until([&] { return exited.has_value(); }));
  CHECK(exited->status() == 3);
}

TEST_CASE(
    "a zygote outlives an upgrade of the keeper and answers the next one, and ends with its agent",
    "[keeper]") {
  KeeperRig rig;
  rig.become_agent();
  rig.client().ready();
  AskedZygote zygote(rig, "l");
  REQUIRE(rig.run_until([&] { return zygote.serves; }));
  std::optional<ExitRecord> before, after;
  std::optional<Status> upgraded;
  zygote.ask({.on_failed = [](Error error) { FAIL(error.text); },
              .on_exited = [&](const ExitRecord& exit) { before = exit; }});
  rig.client().upgrade({}, [&](Status ok) { upgraded = ok; });
  REQUIRE(rig.run_until([&] { return upgraded.has_value() && before.has_value(); }));
  if (!*upgraded) FAIL(upgraded->error().text);
  CHECK(before->status() == 5);
  zygote.ask({.on_failed = [](Error error) { FAIL(error.text); },
              .on_exited = [&](const ExitRecord& exit) { after = exit; }});
  REQUIRE(rig.run_until([&] { return after.has_value(); }));
  CHECK(after->status() == 5);

  rig.kill_agent();
  rig.become_agent();
  REQUIRE(rig.run_until([&] { return children_of(rig.keeper()) == 2; }));  // agent and logger
}
