// A Supervisor, a clock that the test turns, and short words for what goes in and comes out. There
// is no engine: a test says itself what became of each order.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/supervisor.h"

namespace keepwell {

struct Bench {
  Supervisor supervisor{7};
  Now now{Instant(std::chrono::hours(1)), WallTime(std::chrono::hours(500000))};
  std::vector<Action> actions;  // of the last input
  ProjectSpec project;
  std::uint64_t last_request = 0;

  explicit Bench(std::vector<ServiceSpec> services = {}) {
    project.name.assign(1, 'p');  // ="p" trips GCC 12's -Wrestrict
    project.services = std::move(services);
  }

  void give(const Input& input) {
    actions.clear();
    supervisor.handle(input, now, actions);
  }
  void configure() { give(Configure{std::make_shared<ProjectSpec>(project)}); }

  // Turns the clock, and ticks whenever something is due; the actions of all ticks are kept.
  void wait(Duration duration) {
    const Instant end = now.mono + duration;
    std::vector<Action> all;
    while (true) {
      const auto deadline = supervisor.next_deadline();
      if (!deadline || *deadline > end) break;
      move_to(*deadline);
      give(Tick{});
      all.insert(all.end(), actions.begin(), actions.end());
    }
    move_to(end);
    actions = std::move(all);
  }
  void move_to(Instant at) {
    now.wall += at - now.mono;
    now.mono = at;
  }

  const ContainerStatus& container(const std::string& service) const {
    for (const ContainerStatus* each : supervisor.containers()) {
      if (each->spec->name == service) return *each;
    }
    static const ContainerStatus kNone;
    return kNone;
  }
  ContainerRef ref(const std::string& service) const {
    const ContainerStatus& status = container(service);
    return {status.id, status.run};
  }

  // ---- what becomes of orders
  void started(const std::string& service, bool adopted = false) {
    ContainerStarted event;
    event.container = ref(service);
    event.pid = 4711;
    event.adopted = adopted;
    event.at = now.mono;
    event.at_wall = now.wall;
    give(EngineEvent(event));
  }
  void start_failed(const std::string& service, int code = 127) {
    give(EngineEvent(ContainerStartFailed{ref(service), code, "no such program: serve"}));
  }
  void exited(const std::string& service, int code) {
    ContainerExited event;
    event.container = ref(service);
    event.code = code;
    event.at = now.mono;
    event.at_wall = now.wall;
    give(EngineEvent(event));
  }
  void probe_started(ProbeId id) { give(EngineEvent(ProbeStarted{id, now.mono, now.wall})); }
  void probe_ended(ProbeId id, int code, ProbeEnded::How how = ProbeEnded::How::exited,
                   std::string output = {}) {
    ProbeEnded event;
    event.probe = id;
    event.how = how;
    event.code = code;
    event.output_bytes = output.size();
    event.output = std::move(output);
    event.at = now.mono;
    event.at_wall = now.wall;
    give(EngineEvent(event));
  }
  // Waits until a probe is due, and lets it end with CODE at once.
  void probe(int code) {
    const auto deadline = supervisor.next_deadline();
    if (deadline) move_to(*deadline);
    give(Tick{});
    const StartProbe* start = first<StartProbe>();
    if (start == nullptr) return;
    const ProbeId id = start->order.id;
    probe_started(id);
    probe_ended(id, code);
  }

  std::uint64_t command(Command::Kind kind, const std::string& service, int signal = 0,
                        std::optional<Duration> grace = std::nullopt) {
    Command command;
    command.kind = kind;
    command.request = ++last_request;
    command.container = container(service).id;
    command.signal = signal;
    command.grace = grace;
    give(command);
    return command.request;
  }

  // ---- what came out
  template <class A>
  const A* first() const {
    for (const Action& action : actions) {
      if (const A* found = std::get_if<A>(&action)) return found;
    }
    return nullptr;
  }
  template <class A>
  int count() const {
    int number = 0;
    for (const Action& action : actions) number += std::holds_alternative<A>(action) ? 1 : 0;
    return number;
  }
  // The events that everybody sees, with their first attribute: "kill signal=15, die exitCode=0".
  std::string events() const {
    std::string text;
    for (const Action& action : actions) {
      const auto* emit = std::get_if<Emit>(&action);
      if (emit == nullptr || emit->event.probe) continue;
      if (!text.empty()) text += ", ";
      text += emit->event.action;
      if (!emit->event.attributes.empty()) {
        text += " " + emit->event.attributes[0].first + "=" + emit->event.attributes[0].second;
      }
    }
    return text;
  }
  // "ok", "nothing", the error's text, or "" where there was no reply.
  std::string replied(std::uint64_t request) const {
    for (const Action& action : actions) {
      const auto* reply = std::get_if<Reply>(&action);
      if (reply == nullptr || reply->request != request) continue;
      if (reply->result) return "ok";
      return reply->result.error().text.empty() ? "nothing" : reply->result.error().text;
    }
    return "";
  }

  std::vector<ContainerStatus> records() const {
    std::vector<ContainerStatus> all;
    for (const ContainerStatus* each : supervisor.containers()) all.push_back(*each);
    return all;
  }
};

inline ServiceSpec service_named(const std::string& name,
                                 RestartPolicy policy = RestartPolicy::no) {
  ServiceSpec service;
  service.name = name;
  service.runtime = RuntimeKind::process;
  service.command = {{"serve"}};
  service.restart.policy = policy;
  service.capture.on = false;
  return service;
}

inline ServiceSpec checked_service(const std::string& name, RestartPolicy policy, int retries = 1) {
  ServiceSpec service = service_named(name, policy);
  CheckSpec check;
  check.test = {"CMD", "check"};
  check.interval = std::chrono::seconds(1);
  check.timeout = std::chrono::seconds(1);
  check.retries = retries;
  service.checks.push_back(check);
  return service;
}

}  // namespace keepwell
