// POST /keepwell/containers/{id}/hold?for=15m&reason=TEXT and .../release;
// GET /keepwell/incidents and /keepwell/incidents/{id}.
#include <array>

#include "agent/api/router.h"
#include "config/duration.h"

namespace keepwell {
namespace {

// No hold is for longer: one that was forgotten must end.
constexpr Duration kHoldMax = std::chrono::hours(24 * 30);

void submit(const ApiCall& call, Command command) {
  call.api->submit(std::move(command), [call](const Status& done) {
    if (done) {
      call.exchange->respond({204, "", "", {}});
    } else {
      fail_call(call, done.error());
    }
  });
}

void post_hold(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  const std::string length = call.query.text("for");
  const Result<Duration> parsed = parse_duration(length);
  if (!parsed || *parsed <= Duration::zero() || *parsed > kHoldMax) {
    call.exchange->fail(400, "invalid for \"" + length + "\": write a duration of at most 720h");
    return;
  }
  Command command;
  command.kind = Command::Kind::hold;
  command.container = container->id;
  command.hold_for = *parsed;
  command.reason = call.query.text("reason").substr(0, 1000);
  submit(call, std::move(command));
}

void post_release(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  Command command;
  command.kind = Command::Kind::release;
  command.container = container->id;
  submit(call, std::move(command));
}

void get_incidents(const ApiCall& call) {
  if (!call.api->incidents) {
    call.exchange->fail(501, "this agent saves no evidence");
    return;
  }
  respond_json(call, call.api->incidents());
}

void get_incident(const ApiCall& call) {
  if (!call.api->incident) {
    call.exchange->fail(501, "this agent saves no evidence");
    return;
  }
  const Result<std::string> shown = call.api->incident(call.params.front());
  if (shown) {
    respond_json(call, *shown);
  } else {
    fail_call(call, shown.error());
  }
}

constexpr std::array kRoutes{
    Route{"POST", "/keepwell/containers/{id}/hold", post_hold},
    Route{"POST", "/keepwell/containers/{id}/release", post_release},
    Route{"GET", "/keepwell/incidents", get_incidents},
    Route{"GET", "/keepwell/incidents/{id}", get_incident},
};

}  // namespace

std::span<const Route> guard_routes() { return kRoutes; }

}  // namespace keepwell
