// Runs the real LinuxEngine on a real keeper, with real runc containers of busybox. Started without
// arguments it makes a directory and becomes a keeper whose agent is this very program; as agent it
// plays the scenarios in order, waiting for events with a deadline, and ends with the number of
// failed checks. The last scenario kills the agent and lets the next one adopt. Exit code 77: this
// machine cannot run containers (no root, no busybox, no runtime).
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>

#include "runtime/exec_session.h"
#include "runtime/keeper_client.h"
#include "runtime/keeper_protocol.h"
#include "runtime/linux_engine.h"
#include "runtime/loop.h"
#include "runtime/state_file.h"
#include "runtime/timer.h"
#include "tests/e2e/engine_stage.h"

namespace keepwell {
namespace {

void exit_code(Stage& stage) {
  StartOrder order = stage.order("exit7", {"/bin/sh", "-c", "exit 7"});
  CHECK(stage.start(order));
  auto exited = stage.wait_container<ContainerExited>(order);
  CHECK(exited && exited->known && exited->code == 7 && exited->signal == 0 && !exited->oom_killed);
  // The same container again, its writable layer kept.
  order.container.run = 2;
  CHECK(stage.start(order));
  exited = stage.wait_container<ContainerExited>(order);
  CHECK(exited && exited->code == 7);
  stage.engine->remove(order.container.id);
}

void signals(Stage& stage) {
  StartOrder order =
      stage.order("signal", {"/bin/sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"});
  CHECK(stage.start(order));
  auto ready = stage.wait_probe(stage.probe(order, {"CMD", "true"}));
  CHECK(ready && ready->code == 0);
  CHECK(stage.engine->signal(order.container, SIGTERM).has_value());
  auto exited = stage.wait_container<ContainerExited>(order);
  CHECK(exited && exited->code == 3);
  CHECK(!stage.engine->signal(order.container, SIGTERM).has_value());

  order.container.run = 2;
  CHECK(stage.start(order));
  stage.engine->kill(order.container);
  exited = stage.wait_container<ContainerExited>(order);
  CHECK(exited && exited->code == 137 && exited->signal == SIGKILL);
  stage.engine->remove(order.container.id);
}

void start_failures(Stage& stage) {
  struct Case {
    StartOrder order;
    int code;
    const char* says;
  };
  std::vector<Case> cases = {
      {stage.order("noprogram", {"/bin/nosuch"}), 127, "no such file or directory"},
      {stage.order("nopath", {"nosuch"}), 127, "executable file not found in $PATH"},
      {stage.order("noexec", {"/etc/motd"}), 126, "permission denied"},
      {stage.order("norootfs", {"true"},
                   [](ServiceSpec& spec) { spec.rootfs = "/nonexistent/tree"; }),
       128, "/nonexistent/tree"},
      {stage.order("nouser", {"true"}, [](ServiceSpec& spec) { spec.user = "nobody-we-know"; }),
       128, "nobody-we-know"},
  };
  for (const Case& one : cases) {
    stage.engine->start(one.order);
    auto failed = stage.wait_container<ContainerStartFailed>(one.order, seconds(3));
    CHECK(failed.has_value());
    if (!failed) continue;
    if (failed->text.find(one.says) == std::string::npos || failed->exit_code != one.code)
      std::fprintf(stderr, "  %s: %d %s\n", one.order.name.c_str(), failed->exit_code,
                   failed->text.c_str());
    CHECK(failed->text.find(one.says) != std::string::npos);
    CHECK(failed->exit_code == one.code);
    stage.engine->remove(one.order.container.id);
  }
}

void probes(Stage& stage) {
  StartOrder order = stage.order("probed", {"/bin/sleep", "1000"}, [](ServiceSpec& spec) {
    spec.environment = {{"COLOUR", "blue"}};
    spec.working_dir = "/tmp";
    spec.user = "1234:5678";
  });
  CHECK(stage.start(order));
  auto said = stage.wait_probe(
      stage.probe(order, {"CMD-SHELL", "id -u; id -g; pwd; echo $COLOUR $HOSTNAME; echo err >&2"}));
  std::string host = order.container.id.substr(0, 12);
  CHECK(said && said->how == ProbeEnded::How::exited && said->code == 0);
  CHECK(said && said->output == "1234\n5678\n/tmp\nblue " + host + "\nerr\n");
  CHECK(said && said->max_rss_bytes > 0 && said->cpu.count() > 0);

  auto failed = stage.wait_probe(stage.probe(order, {"CMD", "sh", "-c", "echo sick; exit 3"}));
  CHECK(failed && failed->code == 3 && failed->output == "sick\n");

  auto missing = stage.wait_probe(stage.probe(order, {"CMD", "nosuch"}));
  CHECK(missing && missing->how == ProbeEnded::How::start_failed && missing->code == 127);
  CHECK(missing && missing->error.find("executable file not found in $PATH") != std::string::npos);

  // Loopback is up: somebody listens on it and is reached.
  auto lo = stage.wait_probe(stage.probe(order, {"CMD-SHELL", "cat /sys/class/net/lo/flags"}));
  CHECK(lo && lo->output == "0x9\n");

  // A child in a session of its own that holds the pipe open.
  Now before = Loop::now();
  auto forked = stage.wait_probe(stage.probe(order, {"CMD-SHELL", "setsid sleep 1000 & echo ok"}));
  CHECK(forked && forked->code == 0 && forked->output == "ok\n" && forked->left_over);
  CHECK(Loop::now().mono - before.mono < milliseconds(1000));

  auto flood = stage.wait_probe(stage.probe(order, {"CMD", "yes"}), seconds(30));
  CHECK(flood && flood->code == 137 && flood->output.size() == 4096 &&
        flood->output_bytes > (64u << 20));

  ProbeId hung = stage.probe(
      order,
      {"CMD-SHELL", "(trap '' TERM; setsid sleep 1000) & trap '' TERM; echo begun; sleep 1000"});
  CHECK(
      stage.wait<ProbeStarted>([&](const ProbeStarted& e) { return e.probe == hung; }).has_value());
  stage.engine->kill_probe(hung);
  auto killed = stage.wait_probe(hung);
  CHECK(killed && killed->how == ProbeEnded::How::killed);

  // Killed before the keeper can have started it.
  ProbeId early = stage.probe(order, {"CMD", "sleep", "1000"});
  stage.engine->kill_probe(early);
  auto at_once = stage.wait_probe(early, seconds(5));
  if (at_once && !at_once->error.empty()) std::fprintf(stderr, "  %s\n", at_once->error.c_str());
  CHECK(at_once && at_once->how == ProbeEnded::How::killed && at_once->error.empty());

  // Killed at any point of its way in: that is no failure to start.
  int killed_early = 0;
  constexpr int kEarlyKills = 100;
  for (int i = 0; i < kEarlyKills; ++i) {
    ProbeId entering = stage.probe(order, {"CMD", "sleep", "1000"});
    const Instant kill_at = Loop::now().mono + std::chrono::microseconds(20 * i);
    while (Loop::now().mono < kill_at) {
    }
    stage.engine->kill_probe(entering);
    auto over = stage.wait_probe(entering, seconds(5));
    if (over && over->how == ProbeEnded::How::killed && over->error.empty()) ++killed_early;
    if (over && !over->error.empty()) std::fprintf(stderr, "  %s\n", over->error.c_str());
  }
  CHECK(killed_early == kEarlyKills);

  std::vector<int> left = stage.engine->pids(order.container.id);
  CHECK(left.size() == 1);

  // The container ends under a probe.
  ProbeId last = stage.probe(order, {"CMD", "sleep", "1000"});
  CHECK(
      stage.wait<ProbeStarted>([&](const ProbeStarted& e) { return e.probe == last; }).has_value());
  stage.engine->kill(order.container);
  auto gone = stage.wait_probe(last);
  CHECK(gone && gone->how == ProbeEnded::How::container_gone);
  CHECK(stage.wait_container<ContainerExited>(order).has_value());
  auto refused = stage.wait_probe(stage.probe(order, {"CMD", "true"}));
  CHECK(refused && refused->how == ProbeEnded::How::container_gone);
  stage.engine->remove(order.container.id);
}

void probes_by_the_runtime(Stage& stage) {
  StartOrder order = stage.order("by-runtime", {"/bin/sleep", "1000"}, [](ServiceSpec& spec) {
    spec.exec = ExecMode::runtime;
    spec.user = "12:34";
  });
  CHECK(stage.start(order));
  auto said = stage.wait_probe(stage.probe(order, {"CMD-SHELL", "id -u; exit 3"}));
  CHECK(said && said->how == ProbeEnded::How::exited && said->code == 3 && said->output == "12\n");
  auto missing = stage.wait_probe(stage.probe(order, {"CMD", "nosuch"}));
  CHECK(missing && missing->how == ProbeEnded::How::start_failed && missing->code == 127);
  ProbeId hung = stage.probe(order, {"CMD", "sleep", "1000"});
  CHECK(
      stage.wait<ProbeStarted>([&](const ProbeStarted& e) { return e.probe == hung; }).has_value());
  stage.engine->kill_probe(hung);
  auto killed = stage.wait_probe(hung);
  CHECK(killed && killed->how == ProbeEnded::How::killed && killed->error.empty());
  CHECK(stage.engine->pids(order.container.id).size() == 1);
  stage.end(order);
}

void many_probes(Stage& stage) {
  StartOrder order = stage.order("busy", {"/bin/sleep", "1000"});
  CHECK(stage.start(order));
  auto first = stage.wait_probe(stage.probe(order, {"CMD", "true"}));
  CHECK(first && first->code == 0);
  Now before = Loop::now();
  int passed = 0;
  constexpr int kRounds = 200;
  for (int i = 0; i < kRounds; ++i) {
    auto ended = stage.wait_probe(stage.probe(order, {"CMD", "true"}));
    passed += ended && ended->how == ProbeEnded::How::exited && ended->code == 0 ? 1 : 0;
  }
  CHECK(passed == kRounds);
  auto each = (Loop::now().mono - before.mono) / kRounds;
  std::fprintf(stderr, "  %d probes, %.2f ms each\n", kRounds,
               static_cast<double>(each.count()) / 1e6);
  stage.end(order);
}

void pausing(Stage& stage) {
  StartOrder order = stage.order("paused", {"/bin/sh", "-c", "while :; do :; done"});
  CHECK(stage.start(order));
  stage.engine->pause(order.container);
  auto paused = stage.wait_container<ContainerPaused>(order);
  CHECK(paused && paused->error.empty());
  stage.engine->resume(order.container);
  auto resumed = stage.wait_container<ContainerResumed>(order);
  CHECK(resumed && resumed->error.empty());
  stage.engine->pause(order.container);
  CHECK(stage.wait_container<ContainerPaused>(order).has_value());
  stage.end(order);  // a paused one can be killed
}

std::string read_all(Stage& stage, int fd, Duration patience) {
  std::string text;
  fcntl(fd, F_SETFL, O_NONBLOCK);
  Timer tick(stage.loop);
  for (Instant end = Loop::now().mono + patience; Loop::now().mono < end;) {
    char buffer[4096];
    ssize_t got = read(fd, buffer, sizeof buffer);
    if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
    if (got == 0 || (got < 0 && errno == EIO)) break;
    if (got > 0) continue;
    tick.start_after(milliseconds(5), [] {});
    stage.loop.run_once();
  }
  return text;
}

void exec_sessions(Stage& stage) {
  StartOrder order = stage.order("execs", {"/bin/sleep", "1000"}, [](ServiceSpec& spec) {
    spec.environment = {{"COLOUR", "blue"}, {"SHAPE", "round"}};
  });
  CHECK(stage.start(order));
  struct Outcome {
    int pid = 0, code = -1, failed = -1;
    std::string text;
  } outcome;
  ExecSessionHandlers handlers{.on_started = [&](pid_t pid) { outcome.pid = pid; },
                               .on_failed =
                                   [&](int code, std::string text) {
                                     outcome.failed = code;
                                     outcome.text = std::move(text);
                                   },
                               .on_exited = [&](int code) { outcome.code = code; }};
  auto until = [&](const std::function<bool()>& done) {
    Timer tick(stage.loop);
    for (Instant end = Loop::now().mono + seconds(5); !done() && Loop::now().mono < end;) {
      tick.start_after(milliseconds(20), [] {});
      stage.loop.run_once();
    }
    return done();
  };

  ExecSessionOrder piped;
  piped.container = order.container;
  piped.argv = {"sh", "-c",
                "read line; echo got $line $COLOUR$SHAPE$EXTRA; id -u; echo bad >&2; exit 4"};
  piped.env = {"EXTRA=more", "SHAPE"};
  piped.user = "7:8";
  piped.attach_stdin = piped.attach_stdout = piped.attach_stderr = true;
  auto session = stage.engine->exec(piped, handlers);
  CHECK(session.has_value());
  UniqueFd in = (*session)->take_stdin(), out = (*session)->take_stdout(),
           err = (*session)->take_stderr();
  CHECK(write(in.get(), "hello\n", 6) == 6);
  CHECK(read_all(stage, out.get(), seconds(5)) == "got hello bluemore\n7\n");
  CHECK(read_all(stage, err.get(), seconds(5)) == "bad\n");
  CHECK(until([&] { return outcome.code == 4; }) && outcome.pid > 0);

  outcome = {};
  ExecSessionOrder on_tty;
  on_tty.container = order.container;
  on_tty.argv = {"sh", "-c", "stty size; tty; echo $TERM; read x; stty size"};
  on_tty.tty = true;
  on_tty.rows = 33;
  on_tty.columns = 99;
  session = stage.engine->exec(on_tty, handlers);
  CHECK(session.has_value() && until([&] { return outcome.pid > 0; }));
  UniqueFd terminal = (*session)->take_terminal();
  CHECK(static_cast<bool>(terminal));
  CHECK((*session)->resize(11, 22).has_value());
  CHECK(write(terminal.get(), "\n", 1) == 1);
  std::string shown = read_all(stage, terminal.get(), seconds(5));
  if (shown.find("11 22") == std::string::npos)
    std::fprintf(stderr, "  terminal: %s\n", shown.c_str());
  CHECK(shown.find("xterm") != std::string::npos && shown.find("/dev/pts/") != std::string::npos);
  CHECK(shown.find("11 22") != std::string::npos);
  CHECK(until([&] { return outcome.code == 0; }));

  outcome = {};
  ExecSessionOrder missing;
  missing.container = order.container;
  missing.argv = {"nosuch"};
  session = stage.engine->exec(missing, handlers);
  CHECK(until([&] { return outcome.failed == 127; }));
  CHECK(outcome.text.find("exec: \"nosuch\": executable file not found in $PATH") !=
        std::string::npos);

  outcome = {};
  ExecSessionOrder endless;
  endless.container = order.container;
  endless.argv = {"sh", "-c", "setsid sleep 1000 & sleep 1000"};
  session = stage.engine->exec(endless, handlers);
  CHECK(until([&] { return outcome.pid > 0; }));
  CHECK(until([&] { return stage.engine->pids(order.container.id).size() >= 3; }));
  (*session)->kill();
  CHECK(until([&] { return outcome.code == 137; }));
  CHECK(until([&] { return stage.engine->pids(order.container.id).size() == 1; }));
  session->reset();
  stage.end(order);
}

// Waits until the log of ORDER holds TEXT; what it holds instead is said.
bool logged(Stage& stage, const StartOrder& order, const std::string& text) {
  Timer tick(stage.loop);
  std::string all;
  for (Instant end = Loop::now().mono + seconds(5); Loop::now().mono < end;) {
    std::ifstream in(stage.engine->log_path(order.container.id));
    std::ostringstream read;
    read << in.rdbuf();
    all = read.str();
    if (all.find(text) != std::string::npos) return true;
    tick.start_after(milliseconds(20), [] {});
    stage.loop.run_once();
  }
  std::fprintf(stderr, "  log: %s\n", all.c_str());
  return false;
}

void terminals_and_input(Stage& stage) {
  const char* script = "tty; echo term $TERM; read x; echo got $x; stty size; sleep 1000";
  for (RuntimeKind kind : {RuntimeKind::oci, RuntimeKind::process}) {
    StartOrder order = stage.order("tty", {"/bin/sh", "-c", script}, [kind](ServiceSpec& spec) {
      spec.tty = true;
      spec.runtime = kind;
    });
    CHECK(stage.start(order));
    CHECK(logged(stage, order, "/dev/pts/"));
    CHECK(stage.engine->resize(order.container.id, 12, 34).has_value());
    auto input = stage.engine->open_stdin(order.container.id);
    CHECK(input.has_value());
    if (input) CHECK(write(input->get(), "typed\n", 6) == 6);
    CHECK(logged(stage, order, "got typed"));
    CHECK(logged(stage, order, "12 34"));
    stage.end(order);
  }
  for (RuntimeKind kind : {RuntimeKind::oci, RuntimeKind::process}) {
    StartOrder order =
        stage.order("stdin", {"/bin/sh", "-c", "while read x; do echo got $x; done; echo over"},
                    [kind](ServiceSpec& spec) {
                      spec.stdin_open = true;
                      spec.runtime = kind;
                    });
    CHECK(stage.start(order));
    for (const char* line : {"one\n", "two\n"}) {  // each writer comes and goes
      auto input = stage.engine->open_stdin(order.container.id);
      CHECK(input.has_value());
      if (input) CHECK(write(input->get(), line, 4) == 4);
    }
    CHECK(logged(stage, order, "got two"));
    CHECK(!stage.engine->resize(order.container.id, 1, 1).has_value());
    stage.end(order);
  }
}

void out_of_memory(Stage& stage) {
  StartOrder order = stage.order("oom", {"/bin/sh", "-c", "tail /dev/zero"},
                                 [](ServiceSpec& spec) { spec.memory_bytes = 16 << 20; });
  CHECK(stage.start(order));
  auto exited = stage.wait_container<ContainerExited>(order, seconds(20));
  CHECK(exited && exited->code == 137);
  if (exited && !exited->oom_killed)
    std::fprintf(stderr, "  oom: code %d, not told as an OOM kill\n", exited->code);
  CHECK(exited && exited->oom_killed);
  stage.engine->remove(order.container.id);

  // One that survives the kill of another of its processes.
  StartOrder survivor =
      stage.order("oom-survivor", {"/bin/sh", "-c", "tail /dev/zero; exec sleep 1000"},
                  [](ServiceSpec& spec) { spec.memory_bytes = 16 << 20; });
  CHECK(stage.start(survivor));
  CHECK(stage.wait_container<ContainerOom>(survivor, seconds(20)).has_value());
  stage.end(survivor);
}

void connections(Stage& stage) {
  StartOrder order =
      stage.order("served", {"/bin/sh", "-c", "while :; do echo hi | nc -l -p 7777; done"});
  CHECK(stage.start(order));
  auto tcp = [&](std::uint16_t port, const std::string& expect) {
    auto check = std::make_shared<CheckSpec>();
    check->kind = ProbeKind::tcp;
    check->tcp.port = port;
    check->tcp.expect = expect;
    ProbeOrder probe{.id = stage.next_probe(), .container = order.container, .check = check};
    stage.engine->start_probe(probe);
    return probe.id;
  };
  std::optional<ProbeEnded> ended;
  for (Instant end = Loop::now().mono + seconds(5);
       Loop::now().mono < end;) {  // it is still starting
    ended = stage.wait_probe(tcp(7777, "hi"));
    if (!ended || ended->how != ProbeEnded::How::refused) break;
  }
  if (ended && ended->code != 0)
    std::fprintf(stderr, "  tcp: %d %s\n", static_cast<int>(ended->how), ended->error.c_str());
  CHECK(ended && ended->how == ProbeEnded::How::exited && ended->code == 0);
  ended = stage.wait_probe(tcp(7778, ""));
  CHECK(ended && ended->how == ProbeEnded::How::refused && ended->code != 0);
  ProbeId waits = tcp(7777, "never said");
  stage.engine->kill_probe(waits);
  ended = stage.wait_probe(waits);
  CHECK(ended && ended->how == ProbeEnded::How::killed);
  stage.end(order);
}

void process_services(Stage& stage) {
  auto plain = [](ServiceSpec& spec) {
    spec.runtime = RuntimeKind::process;
    spec.environment = {{"COLOUR", "red"}};
  };
  StartOrder order = stage.order("plain", {"sh", "-c", "sleep 1000 & wait; exit 5"}, plain);
  CHECK(stage.start(order));
  auto said = stage.wait_probe(stage.probe(order, {"CMD-SHELL", "echo $COLOUR"}));
  CHECK(said && said->code == 0 && said->output == "red\n");
  stage.engine->kill(order.container);
  auto exited = stage.wait_container<ContainerExited>(order);
  CHECK(exited && exited->code == 137);
  stage.engine->remove(order.container.id);

  StartOrder wrong = stage.order("wrong", {"/nonexistent/program"}, plain);
  stage.engine->start(wrong);
  auto failed = stage.wait_container<ContainerStartFailed>(wrong);
  CHECK(failed && failed->exit_code == 127);
  stage.engine->remove(wrong.container.id);
}

void parallel_starts(Stage& stage) {
  std::vector<StartOrder> orders;
  Now before = Loop::now();
  for (int i = 0; i < 10; ++i) {
    orders.push_back(stage.order("p" + std::to_string(i), {"/bin/sleep", "1000"}));
    stage.engine->start(orders.back());
  }
  for (const StartOrder& order : orders)
    CHECK(stage.wait_container<ContainerStarted>(order, seconds(30)).has_value());
  std::fprintf(stderr, "  10 starts in %.0f ms\n",
               static_cast<double>((Loop::now().mono - before.mono).count()) / 1e6);
  for (const StartOrder& order : orders) stage.engine->kill(order.container);
  for (const StartOrder& order : orders)
    CHECK(stage.wait_container<ContainerExited>(order).has_value());
  for (const StartOrder& order : orders) stage.engine->remove(order.container.id);
}

// What the first agent leaves for the second: three containers, of which one ends in between.
struct Left {
  StartOrder stays, ends, unknown;
};
Left left_orders(Stage& stage) {
  stage.number_from(0xdef000);  // the same in both agents
  return {stage.order("stays", {"/bin/sleep", "1000"}),
          stage.order("ends", {"/bin/sh", "-c",
                               "while [ ! -e /tmp/go ]; do sleep 0.02; done; sleep 0.5; exit 9"}),
          stage.order("stranger", {"/bin/sleep", "1000"})};
}

void before_the_crash(Stage& stage) {
  Left left = left_orders(stage);
  for (const StartOrder* order : {&left.stays, &left.ends, &left.unknown})
    CHECK(stage.start(*order));
  std::vector<int> pids = stage.engine->pids(left.stays.container.id);
  CHECK(pids.size() == 1);
  std::ofstream(stage.dir + "/failures") << failures << " " << (pids.empty() ? 0 : pids[0]);
  auto go = stage.wait_probe(stage.probe(left.ends, {"CMD-SHELL", "touch /tmp/go"}));
  CHECK(go && go->code == 0);
  std::raise(SIGKILL);
}

void after_the_crash(Stage& stage) {
  int pid = 0;
  std::ifstream(stage.dir + "/failures") >> failures >> pid;
  Left left = left_orders(stage);
  std::string boot = read_boot_id();
  stage.engine->adopt({.start = left.stays, .pid = pid, .pid_start_ticks = 0, .boot_id = boot});
  stage.engine->adopt({.start = left.ends, .pid = 1, .pid_start_ticks = 0, .boot_id = boot});
  stage.engine->clean_leftovers({left.stays.container.id, left.ends.container.id});
  stage.keeper.ready();
  auto adopted = stage.wait_container<ContainerStarted>(left.stays);
  CHECK(adopted && adopted->adopted && adopted->pid == pid && adopted->paused == false);
  auto exited = stage.wait_container<ContainerExited>(left.ends);
  CHECK(exited && exited->known && exited->code == 9);
  auto probed = stage.wait_probe(stage.probe(left.stays, {"CMD", "true"}));
  CHECK(probed && probed->how == ProbeEnded::How::exited && probed->code == 0);
  stage.end(left.stays);
  stage.engine->remove(left.ends.container.id);
}

// Whether all that was made under DIR/run is gone but the runtime's own directory.
bool all_removed(Stage& stage) {
  Timer tick(stage.loop);
  std::string left;
  for (Instant end = Loop::now().mono + seconds(10); Loop::now().mono < end;) {
    left.clear();
    for (const char* dir : {"/run", "/data/containers"})
      for (const auto& entry : std::filesystem::directory_iterator(stage.dir + dir))
        if (entry.path().filename().string().size() == 64) left = entry.path();
    if (left.empty()) return true;
    tick.start_after(milliseconds(10), [] {});
    stage.loop.run_once();
  }
  std::fprintf(stderr, "  left: %s\n", left.c_str());
  return false;
}

int agent(const std::string& dir) {
  auto loop = Loop::open();
  auto keeper = KeeperClient::open(**loop, UniqueFd(wire::kControlFd), {});
  if (!loop || !keeper) return 1;
  auto stage = std::make_unique<Stage>(**loop, **keeper, dir);
  if ((*keeper)->inherited().generation == 0) {
    (*keeper)->ready();
    struct Scenario {
      const char* name;
      void (*play)(Stage&);
    };
    const char* only = std::getenv("KEEPWELL_TEST_ONLY");
    for (const Scenario& scenario :
         std::initializer_list<Scenario>{{"exit code", exit_code},
                                         {"signals", signals},
                                         {"start failures", start_failures},
                                         {"probes", probes},
                                         {"probes by the runtime", probes_by_the_runtime},
                                         {"many probes", many_probes},
                                         {"pausing", pausing},
                                         {"exec sessions", exec_sessions},
                                         {"terminals and input", terminals_and_input},
                                         {"out of memory", out_of_memory},
                                         {"connections", connections},
                                         {"process services", process_services},
                                         {"parallel starts", parallel_starts},
                                         {"crash of the agent", before_the_crash}}) {
      if (only && std::string(scenario.name) != only) continue;
      std::fprintf(stderr, "%s\n", scenario.name);
      scenario.play(*stage);
    }
  } else {
    after_the_crash(*stage);
  }
  CHECK(all_removed(*stage));
  stage->engine->leave_nothing();
  std::fprintf(stderr, failures == 0 ? "all passed with %s\n" : "failed with %s\n",
               stage->engine->runtime_name().c_str());
  (*keeper)->stopping(failures == 0 ? 0 : 1);
  stage.reset();
  keeper->reset();
  (*loop)->close();
  return 0;
}

bool make_rootfs(const std::string& rootfs) {
  const char* busybox = "/usr/bin/busybox";
  if (access(busybox, X_OK) != 0) busybox = "/bin/busybox";
  if (access(busybox, X_OK) != 0) return false;
  std::filesystem::create_directories(rootfs + "/bin");
  std::filesystem::create_directories(rootfs + "/etc");
  std::filesystem::create_directories(rootfs + "/tmp");
  chmod((rootfs + "/tmp").c_str(), 01777);
  std::filesystem::copy_file(busybox, rootfs + "/bin/busybox");
  for (const char* name : {"sh", "sleep", "true", "id", "pwd", "echo", "cat", "yes", "setsid",
                           "tail", "touch", "stty", "tty", "nc"})
    std::filesystem::create_symlink("busybox", rootfs + "/bin/" + name);
  std::ofstream(rootfs + "/etc/passwd") << "root:x:0:0:root:/root:/bin/sh\n";
  std::ofstream(rootfs + "/etc/group") << "root:x:0:\n";
  std::ofstream(rootfs + "/etc/motd") << "no program\n";
  return true;
}

int become_keeper(const char* self) {
  if (geteuid() != 0) {
    std::puts("SKIP: containers need root here");
    return 77;
  }
  char dir[] = "/tmp/keepwell-engine-XXXXXX";
  if (!mkdtemp(dir) || !make_rootfs(std::string(dir) + "/rootfs")) {
    std::puts("SKIP: busybox-static is not installed");
    return 77;
  }
  std::string bin = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  std::string keeper = bin + "/keepwell-keeper", logger = bin + "/keepwell-logger",
              enter = bin + "/keepwell-enter";
  pid_t child = fork();
  if (child == 0) {
    execl(keeper.c_str(), keeper.c_str(), "--logger", logger.c_str(), "--enter", enter.c_str(),
          "--", self, "agent", dir, nullptr);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  std::error_code ignored;
  std::filesystem::remove_all(dir, ignored);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace
}  // namespace keepwell

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "agent") return keepwell::agent(argv[2]);
  return keepwell::become_keeper(std::filesystem::read_symlink("/proc/self/exe").c_str());
}
