// What orchestrators are told at /healthz and /readyz.
#include "exporters/readiness.h"

#include "fixtures.h"

using namespace keepwell;

namespace {

std::string ready(const ContainerStatus& c) {
  const ContainerStatus* all[] = {&c};
  return why_not_ready(all);
}

std::string live(const ContainerStatus& c) {
  const ContainerStatus* all[] = {&c};
  return why_not_live(all);
}

}  // namespace

TEST_CASE("a service that runs is ready when its checks say so, or when it has none") {
  ContainerStatus c = web();
  CHECK(ready(c).empty());
  c.health = Health::starting;
  CHECK(ready(c) == "shop-web-1: its checks have not passed yet");
  c.health = Health::unhealthy;
  CHECK(ready(c) == "shop-web-1: unhealthy");
  CHECK(live(c).empty());
  c.health = Health::none;  // only checks that tell nothing of health
  CHECK(ready(c).empty());
  c.checks.clear();
  c.state = ServiceState::backoff;
  CHECK(ready(c).empty());
}

TEST_CASE("what has checks and does not run is not ready, unless it has done its work") {
  ContainerStatus c = web();
  for (const ServiceState state :
       {ServiceState::created, ServiceState::starting, ServiceState::paused, ServiceState::stopping,
        ServiceState::restarting, ServiceState::backoff}) {
    c.state = state;
    CHECK(ready(c) == std::string("shop-web-1: ") + to_string(state));
    CHECK(live(c).empty());
  }
  c.state = ServiceState::exited;
  c.exit_code = 0;
  CHECK(ready(c).empty());
  c.stopped_by_hand = true;
  CHECK(ready(c) == "shop-web-1: exited");
  c.stopped_by_hand = false;
  c.exit_code = 1;
  CHECK(ready(c) == "shop-web-1: exited");
  CHECK(live(c).empty());
}

TEST_CASE("what has failed for good is neither, and each in the way is named") {
  ContainerStatus c = web();
  c.state = ServiceState::failed;
  c.exit_code = 3;
  CHECK(live(c) == "shop-web-1: failed with exit code 3");
  CHECK(ready(c) == live(c));
  ContainerStatus other = web();
  other.name = "shop-db-1";
  other.state = ServiceState::failed;
  other.error = "cannot start it";
  const ContainerStatus* all[] = {&c, &other};
  CHECK(why_not_live(all) ==
        "shop-web-1: failed with exit code 3\nshop-db-1: failed: cannot start it");
  CHECK(why_not_live({}).empty());
}
