// sim_day [--services N] [--hours H] [--limit SECONDS]
//
// How much the Supervisor itself costs: a day of N services with the default interval, in which one
// probe of a hundred fails, one service of fifty crashes every hour, and every restart is carried
// out. The engine here is a heap and answers at once, so that what is measured is the deciding.
// With --limit it fails when the day took longer than that.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "agent/supervisor.h"
#include "tests/sim/random.h"

namespace keepwell {
namespace {

using std::chrono::milliseconds;

struct Pending {
  Instant at{};
  std::uint64_t number = 0;
  EngineEvent event;
  bool operator<(const Pending& other) const {
    return at != other.at ? at > other.at : number > other.number;
  }
};

class Day {
 public:
  explicit Day(int services) : random_(1), supervisor_(1) {
    auto project = std::make_shared<ProjectSpec>();
    project->name = "day";
    for (int i = 0; i < services; ++i) {
      ServiceSpec service;
      service.name = "s" + std::to_string(i);
      service.runtime = RuntimeKind::process;
      service.command = {{"serve"}};
      service.restart.policy = RestartPolicy::always;
      CheckSpec check;
      check.test = {"CMD", "true"};
      check.retries = 3;
      service.checks.push_back(check);
      project->services.push_back(service);
    }
    supervisor_.tell_probes(false);
    give(Configure{project});
  }

  void run(Duration length) {
    const Instant end = now_.mono + length;
    while (now_.mono < end) {
      const auto deadline = supervisor_.next_deadline();
      const bool news = !pending_.empty() && (!deadline || pending_.top().at < *deadline);
      if (!news && !deadline) return;
      const Instant next = news ? pending_.top().at : *deadline;
      now_.wall += next - now_.mono;
      now_.mono = next;
      if (!news) {
        give(Tick{});
        continue;
      }
      EngineEvent event = pending_.top().event;
      pending_.pop();
      give(std::move(event));
    }
  }

  void print(double seconds) const {
    std::uint64_t restarts = 0;
    for (const ContainerStatus* container : supervisor_.containers()) {
      restarts += container->starts_total;
    }
    std::printf(
        "%zu services, %llu probes, %llu starts, %llu inputs, %llu actions in %.2f s: "
        "%.0f ns an input\n",
        supervisor_.containers().size(), static_cast<unsigned long long>(probes_),
        static_cast<unsigned long long>(restarts), static_cast<unsigned long long>(inputs_),
        static_cast<unsigned long long>(actions_given_), seconds,
        1e9 * seconds / static_cast<double>(inputs_));
  }

 private:
  void give(const Input& input) {
    inputs_++;
    actions_.clear();
    supervisor_.handle(input, now_, actions_);
    actions_given_ += actions_.size();
    for (const Action& action : actions_) answer(action);
  }

  void later(Duration after, EngineEvent event) {
    pending_.push({now_.mono + after, ++last_number_, std::move(event)});
  }

  void answer(const Action& action) {
    if (const auto* probe = std::get_if<StartProbe>(&action)) {
      probes_++;
      const Instant start = now_.mono + milliseconds(1);
      later(milliseconds(1), ProbeStarted{probe->order.id, start, now_.wall});
      ProbeEnded ended;
      ended.probe = probe->order.id;
      ended.code = random_.chance(0.01) ? 1 : 0;
      ended.output = "ok";
      ended.output_bytes = 2;
      ended.at = now_.mono + milliseconds(3);
      later(milliseconds(3), std::move(ended));
    } else if (const auto* start = std::get_if<StartContainer>(&action)) {
      ContainerStarted started;
      started.container = start->order.container;
      started.pid = 1;
      started.at = now_.mono + milliseconds(20);
      later(milliseconds(20), started);
      if (random_.chance(0.02)) exit_of(start->order.container, std::chrono::hours(1));
    } else if (const auto* signal = std::get_if<SignalContainer>(&action)) {
      exit_of(signal->container, milliseconds(50));
    }
  }

  void exit_of(const ContainerRef& container, Duration after) {
    ContainerExited exited;
    exited.container = container;
    exited.code = 1;
    exited.at = now_.mono + after;
    later(after, exited);
  }

  Random random_;
  Supervisor supervisor_;
  Now now_{Instant(std::chrono::hours(1)), WallTime(std::chrono::hours(500000))};
  std::vector<Action> actions_;
  std::priority_queue<Pending> pending_;
  std::uint64_t last_number_ = 0;
  std::uint64_t probes_ = 0;
  std::uint64_t inputs_ = 0;
  std::uint64_t actions_given_ = 0;
};

}  // namespace
}  // namespace keepwell

int main(int argc, char** argv) {
  int services = 1000;
  double hours = 24;
  double limit = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string word = argv[i];
    if (word == "--services") services = std::atoi(argv[i + 1]);
    if (word == "--hours") hours = std::atof(argv[i + 1]);
    if (word == "--limit") limit = std::atof(argv[i + 1]);
  }
  // Processor time: on a shared machine only that is ours.
  const std::clock_t began = std::clock();
  keepwell::Day day(services);
  day.run(std::chrono::duration_cast<keepwell::Duration>(
      std::chrono::duration<double, std::ratio<3600>>(hours)));
  const double seconds = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  day.print(seconds);
  if (limit <= 0 || seconds < limit) return 0;
  std::printf("that is more than the %.1f s that it may take\n", limit);
  return 1;
}
