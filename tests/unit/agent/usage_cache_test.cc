// Measuring what containers use, in turn and within a budget.
#include "agent/usage_cache.h"

#include "tests/catch.h"

using namespace keepwell;
using namespace std::chrono_literals;

namespace {

struct Bench {
  std::vector<ContainerStatus> containers;
  UsageCache cache;
  Instant now{1s};
  Duration cost = 1ms;  // of one measurement
  std::vector<std::string> measured;
  int looked = 0;

  explicit Bench(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      ContainerStatus status;
      status.id = "c" + std::to_string(i);
      status.pid = 1;
      status.run = 1;
      containers.push_back(status);
    }
  }
  void refresh() {
    measured.clear();
    looked = 0;
    std::vector<const ContainerStatus*> all;
    for (const ContainerStatus& one : containers) all.push_back(&one);
    cache.refresh(
        all,
        [this](const ContainerStatus& one) -> Result<ServiceUsage> {
          measured.push_back(one.id);
          now += cost;
          ServiceUsage usage;
          usage.processes = measured.size();
          return usage;
        },
        [this](const ContainerStatus&) { ++looked; }, [this] { return now; });
  }
};

}  // namespace

TEST_CASE("a scrape measures what fits into its budget, the next goes on behind it") {
  Bench bench(50);
  bench.refresh();
  CHECK(bench.measured.size() == 20);
  CHECK(bench.looked == 20);
  CHECK(bench.cache.find(bench.containers[0]) != nullptr);
  CHECK(bench.cache.find(bench.containers[20]) == nullptr);
  bench.refresh();
  CHECK(bench.measured.front() == "c20");
  bench.refresh();
  CHECK(bench.measured.front() == "c40");
  CHECK(bench.cache.find(bench.containers[49]) != nullptr);
  bench.cost = 1us;
  bench.refresh();
  CHECK(bench.measured.size() == 50);
}

TEST_CASE("what was measured of an earlier run, or of a container that is gone, is not shown") {
  Bench bench(2);
  bench.refresh();
  bench.containers[0].run++;
  CHECK(bench.cache.find(bench.containers[0]) == nullptr);
  ContainerStatus gone = bench.containers[1];
  bench.containers.pop_back();
  bench.containers[0].pid = 0;
  bench.refresh();
  CHECK(bench.measured.empty());
  CHECK(bench.looked == 1);
  CHECK(bench.cache.find(gone) == nullptr);
}
