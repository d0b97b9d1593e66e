// What the engine's scenarios are played on: an engine in a directory of its own, its events in the
// order in which they came, and waiting for one of them with a deadline.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/keeper_client.h"
#include "runtime/linux_engine.h"
#include "runtime/loop.h"
#include "runtime/timer.h"

namespace keepwell {

using std::chrono::milliseconds;
using std::chrono::seconds;

inline int failures = 0;

#define CHECK(condition)                                                          \
  do {                                                                            \
    if (!(condition)) {                                                           \
      std::fprintf(stderr, "FAILED %s:%d: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                                 \
    }                                                                             \
  } while (false)

class Stage {
 public:
  Stage(Loop& loop_in, KeeperClient& keeper_in, std::string dir_in)
      : loop(loop_in), keeper(keeper_in), dir(std::move(dir_in)), deadline_(loop_in) {
    LinuxEngineOptions options;
    options.run_dir = dir + "/run";
    options.data_dir = dir + "/data";
    const char* runtime = std::getenv("KEEPWELL_TEST_RUNTIME");
    if (runtime) options.runtime = runtime;
    options.on_event = [this](const EngineEvent& event) { events.push_back(event); };
    options.on_warning = [](const std::string& text) {
      std::fprintf(stderr, "  warning: %s\n", text.c_str());
    };
    auto opened = LinuxEngine::open(loop, keeper, std::move(options));
    if (!opened) {
      std::fprintf(stderr, "%s\n", opened.error().text.c_str());
      std::exit(1);
    }
    engine = std::move(*opened);
  }

  // The next event of kind E about WHOM, taken out; none after TIMEOUT.
  template <class E>
  std::optional<E> wait(const std::function<bool(const E&)>& wanted,
                        Duration timeout = seconds(10)) {
    bool late = false;
    deadline_.start_after(timeout, [&] { late = true; });
    while (true) {
      for (auto it = events.begin(); it != events.end(); ++it) {
        if (const E* found = std::get_if<E>(&*it); found && wanted(*found)) {
          E copy = *found;
          events.erase(it);
          deadline_.stop();
          return copy;
        }
      }
      if (late) return std::nullopt;
      loop.run_once();
    }
  }
  template <class E>
  std::optional<E> wait_container(const StartOrder& order, Duration timeout = seconds(10)) {
    return wait<E>([&](const E& event) { return event.container == order.container; }, timeout);
  }
  std::optional<ProbeEnded> wait_probe(ProbeId id, Duration timeout = seconds(10)) {
    return wait<ProbeEnded>([&](const ProbeEnded& event) { return event.probe == id; }, timeout);
  }

  StartOrder order(const std::string& name, std::vector<std::string> argv,
                   const std::function<void(ServiceSpec&)>& change = {}) {
    auto spec = std::make_shared<ServiceSpec>();
    spec->name = name;
    spec->rootfs = dir + "/rootfs";
    spec->command = std::move(argv);
    if (change) change(*spec);
    char id[65];
    std::snprintf(id, sizeof id, "%064x", next_id_++);
    return {.container = {id, 1}, .name = "test-" + name, .project = "test", .spec = spec};
  }

  ProbeId probe(const StartOrder& container, std::vector<std::string> test,
                const std::string& name = "healthcheck") {
    auto check = std::make_shared<CheckSpec>();
    check->name = name;
    check->test = std::move(test);
    ProbeOrder order{.id = next_probe_++, .container = container.container, .check = check};
    engine->start_probe(order);
    return order.id;
  }

  bool start(const StartOrder& order_in) {
    engine->start(order_in);
    auto started = wait<ContainerStarted>(
        [&](const ContainerStarted& e) { return e.container == order_in.container; });
    if (!started) {
      for (const EngineEvent& event : events)
        if (const auto* failed = std::get_if<ContainerStartFailed>(&event))
          std::fprintf(stderr, "  start failed: %d %s\n", failed->exit_code, failed->text.c_str());
    }
    return started.has_value();
  }
  void end(const StartOrder& order_in) {
    engine->kill(order_in.container);
    CHECK(wait_container<ContainerExited>(order_in).has_value());
    engine->remove(order_in.container.id);
  }

  ProbeId next_probe() { return next_probe_++; }
  void number_from(unsigned id) { next_id_ = id; }

  Loop& loop;
  KeeperClient& keeper;
  std::string dir;
  std::unique_ptr<LinuxEngine> engine;
  std::deque<EngineEvent> events;

 private:
  Timer deadline_;
  unsigned next_id_ = 0xabc000;
  ProbeId next_probe_ = 1;
};

}  // namespace keepwell
