// Start, stop, restart, kill, pause, unpause and wait. The conditions that Docker's clients know by
// their words are told here; everything else is the Supervisor's to decide. What was asked goes on
// when the client goes away.
#include <array>
#include <nlohmann/json.hpp>

#include "agent/api/router.h"
#include "agent/event_bus.h"
#include "config/signals.h"
#include "exporters/health_json.h"
#include "runtime/loop.h"

namespace keepwell {
namespace {

void submit(const ApiCall& call, Command command) {
  call.api->submit(std::move(command), [exchange = call.exchange, call](const Status& done) {
    if (done) {
      exchange->respond({204, "", "", {}});
    } else {
      fail_call(call, done.error());
    }
  });
}

Command command_for(const ContainerStatus& container, Command::Kind kind) {
  Command command;
  command.kind = kind;
  command.container = container.id;
  return command;
}

// Reads `signal` and `t` of stop and restart; false if the call was answered.
bool read_stop_options(const ApiCall& call, Command& command) {
  const Result<std::optional<std::int64_t>> seconds = call.query.number("t");
  if (!seconds) {
    call.exchange->fail(400, seconds.error().text);
    return false;
  }
  if (*seconds)
    command.grace = std::chrono::seconds(std::clamp<std::int64_t>(**seconds, -1, 1'000'000'000));
  const std::string signal = call.query.text("signal");
  if (signal.empty() || call.minor < 42) return true;
  const Result<int> number = parse_signal(signal);
  if (!number || *number == 0) {
    call.exchange->fail(400, "invalid signal: " + signal);
    return false;
  }
  command.signal = *number;
  return true;
}

void post_start(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  if (container->state == ServiceState::paused) {
    call.exchange->fail(409, "cannot start a paused container, try unpause instead");
    return;
  }
  submit(call, command_for(*container, Command::Kind::start));
}

void post_stop(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  Command command = command_for(*container, Command::Kind::stop);
  if (read_stop_options(call, command)) submit(call, std::move(command));
}

void post_restart(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  Command command = command_for(*container, Command::Kind::restart);
  if (read_stop_options(call, command)) submit(call, std::move(command));
}

void post_kill(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  const std::string context = "cannot kill container: " + call.params.front() + ": ";
  const std::string signal = call.query.text("signal");
  Command command = command_for(*container, Command::Kind::kill);
  const Result<int> number = parse_signal(signal.empty() ? "KILL" : signal);
  if (!number || *number == 0) {
    call.exchange->fail(400, context + "invalid signal: " + signal);
    return;
  }
  command.signal = *number;
  if (!is_running(*container) && !is_restarting(*container) &&
      container->state != ServiceState::starting) {
    call.exchange->fail(409, context + "container " + container->id + " is not running");
    return;
  }
  submit(call, std::move(command));
}

void post_pause(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  if (container->state == ServiceState::paused) {
    call.exchange->fail(409, "container " + container->id + " is already paused");
  } else if (is_restarting(*container)) {
    call.exchange->fail(
        409, "Container " + container->id + " is restarting, wait until the container is running");
  } else if (!is_running(*container)) {
    call.exchange->fail(409, "container " + container->id + " is not running");
  } else {
    submit(call, command_for(*container, Command::Kind::pause));
  }
}

void post_unpause(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  if (container->state != ServiceState::paused) {
    call.exchange->fail(500, "Container " + container->id + " is not paused");
    return;
  }
  submit(call, command_for(*container, Command::Kind::unpause));
}

// ---- wait

enum class WaitFor { not_running, next_exit, removed };

void finish_wait(const ApiCall& call, int exit_code, const std::string& error) {
  nlohmann::ordered_json answer;
  answer["StatusCode"] = exit_code;
  if (!error.empty()) answer["Error"] = {{"Message", error}};
  call.exchange->write(json_text(answer) + "\n");
  call.exchange->end();
}

// The head has gone out; the body comes when the container ends.
struct Waiter {
  ApiCall call;
  std::string id;
  WaitFor what;
  EventBus::Subscription subscription;

  void on_event(const Event& event) {
    if (event.id != id) return;
    if (event.action == "destroy") {
      done(exit_code_now(), {});
    } else if (event.action == "die" && what != WaitFor::removed) {
      done(exit_code_of(event), {});
    }
  }

  int exit_code_now() const {
    const Result<const ContainerStatus*> container = find_container(*call.api, id);
    return container ? (*container)->exit_code : 0;
  }

  int exit_code_of(const Event& event) const {
    for (const auto& [name, value] : event.attributes)
      if (name == "exitCode") return std::atoi(value.c_str());
    return exit_code_now();
  }

  void done(int exit_code, const std::string& error) {
    const EventBus::Subscription ending = std::move(subscription);
    subscription = {};
    finish_wait(call, exit_code, error);
  }
};

void post_wait(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  const std::string condition = call.query.text("condition");
  WaitFor what = WaitFor::not_running;
  if (condition == "next-exit") {
    what = WaitFor::next_exit;
  } else if (condition == "removed") {
    what = WaitFor::removed;
  } else if (!condition.empty() && condition != "not-running") {
    call.exchange->fail(400, "invalid condition: \"" + condition + "\"");
    return;
  }
  call.exchange->begin({200, "application/json", {}});
  const bool runs = is_running(*container) || is_restarting(*container) ||
                    container->state == ServiceState::starting;
  if (what == WaitFor::not_running && !runs) {
    finish_wait(call, container->exit_code, container->error);
    return;
  }
  auto waiter = std::make_shared<Waiter>(Waiter{call, container->id, what, {}});
  waiter->subscription =
      call.api->events->subscribe([weak = std::weak_ptr<Waiter>(waiter)](const Event& event) {
        if (const std::shared_ptr<Waiter> self = weak.lock()) self->on_event(event);
      });
  Exchange::Handlers handlers;  // own the waiter for as long as the exchange lives
  handlers.on_closed = [waiter] { waiter->subscription = {}; };
  call.exchange->set_handlers(std::move(handlers));
}

constexpr std::array kRoutes{
    Route{"POST", "/containers/{id}/start", post_start},
    Route{"POST", "/containers/{id}/stop", post_stop},
    Route{"POST", "/containers/{id}/restart", post_restart},
    Route{"POST", "/containers/{id}/kill", post_kill},
    Route{"POST", "/containers/{id}/pause", post_pause},
    Route{"POST", "/containers/{id}/unpause", post_unpause},
    Route{"POST", "/containers/{id}/wait", post_wait},
};

}  // namespace

std::span<const Route> lifecycle_routes() { return kRoutes; }

}  // namespace keepwell
