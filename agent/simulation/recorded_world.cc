#include "agent/simulation/recorded_world.h"

#include <algorithm>
#include <utility>

#include "agent/pressure_guard.h"

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Virtual = VirtualEngine;

// A recorded start or end is taken for the simulated one if it is no further off.
constexpr Duration kNear = seconds(15);
// By which a loaded machine may be late at what was due.
constexpr Duration kLookLate = milliseconds(250);
// From the order of a probe to its program, about.
constexpr Duration kSpawn = milliseconds(3);

Duration at_least_one(Duration duration) { return std::max<Duration>(duration, milliseconds(1)); }

ProbeEnded::How how_of(const std::string& reason) {
  constexpr std::pair<const char*, ProbeEnded::How> kHows[] = {
      {"refused", ProbeEnded::How::refused},
      {"reset", ProbeEnded::How::reset},
      {"dns", ProbeEnded::How::dns},
      {"tls", ProbeEnded::How::tls},
      {"http_status", ProbeEnded::How::http_status},
      {"body", ProbeEnded::How::body},
      {"grpc_status", ProbeEnded::How::grpc_status},
      {"spawn", ProbeEnded::How::start_failed}};
  for (const auto& [name, how] : kHows) {
    if (reason == name) return how;
  }
  return ProbeEnded::How::exited;
}

}  // namespace

VirtualEngine::World RecordedWorld::world() {
  Virtual::World world;
  world.start = [this](const Virtual::Host& host) {
    Virtual::Start start;
    start.after = milliseconds(100);
    const WallTime now = wall_now();
    History::Change* good = history_.find(host.name, History::Change::Kind::started, now, kNear);
    History::Change* bad =
        history_.find(host.name, History::Change::Kind::start_failed, now, kNear);
    if (bad != nullptr && (good == nullptr || bad->at < good->at)) {
      start.failed_with = bad->code;
      start.text = bad->detail;
      good = bad;
    }
    if (good == nullptr) return start;
    good->played = true;
    start.after = at_least_one(good->at - now);
    return start;
  };
  world.stop = [this](const Virtual::Host& host) -> std::optional<Virtual::End> {
    const WallTime now = wall_now();
    Virtual::End end{.after = milliseconds(100), .code = 143, .signal = 15};
    History::Change* change = history_.find(host.name, History::Change::Kind::ended, now,
                                            host.spec->stop_grace_period + kNear);
    if (change == nullptr) return end;
    change->played = true;
    end.after = at_least_one(change->at - now);
    end.code = change->code;
    end.signal = change->code > 128 ? change->code - 128 : 0;
    return end;
  };
  world.kill = [this](const Virtual::Host& host) -> Duration {
    const WallTime now = wall_now();
    // That which answers its stop signal (and is played) comes in any case, if it is still to come.
    History::Change* change = history_.find(host.name, History::Change::Kind::ended, now, kNear);
    if (change == nullptr) return host.signalled ? kNear : milliseconds(10);
    change->played = true;
    return at_least_one(change->at - now);
  };
  world.probe = [this](const Virtual::Probe& each, const Virtual::Host& host, Instant) {
    return probe(each, host);
  };
  world.probe_dies = [this](const Virtual::Probe& each, const Virtual::Host& host,
                            ProbeEnded& end) -> Duration {
    const auto container = history_.containers.find(host.name);
    if (container == history_.containers.end() || end.how != ProbeEnded::How::killed) {
      return milliseconds(1);
    }
    const History::Result* last = container->second.checks[each.check->name].last;
    if (last == nullptr || last->outcome != "timeout") return milliseconds(1);
    end.pressure = parse_pressure(last->pressure);
    end.traced = last->traced;
    return at_least_one(last->started + last->took - wall_now());
  };
  return world;
}

// The result that stands for a probe which is started NOW: the next one that was not played, if it
// began about now; none: the last one still says how things are.
const History::Result* RecordedWorld::match(const VirtualEngine::Host& host, History::Check& check,
                                            const CheckSpec& spec) {
  const WallTime now = wall_now();
  const Duration slack = std::max<Duration>(spec.interval / 2, milliseconds(200));
  while (check.next < check.results.size() && check.results[check.next].started < now - slack) {
    check.last = &check.results[check.next++];
  }
  if (check.next == check.results.size()) return nullptr;
  const History::Result& next = check.results[check.next];
  if (next.started > now + slack) {
    // After a failure every result has a record: it is of this probe, however long it took to start
    // on a stalled host.
    const bool failing = check.last != nullptr && check.last->outcome != "pass" &&
                         check.last->started >= now - (simulation_->now().mono - host.started);
    if (!as_it_was_ || !failing || next.started > now + kProbeStartGuard ||
        history_.is_cut_off(host.name, now, next.started - now)) {
      return nullptr;
    }
  }
  check.next++;
  check.last = &next;
  return &next;
}

VirtualEngine::ProbeFate RecordedWorld::probe(const VirtualEngine::Probe& each,
                                              const VirtualEngine::Host& host) {
  Virtual::ProbeFate fate;
  const WallTime now = wall_now();
  History::Check& check = history_.containers[host.name].checks[each.check->name];
  const History::Result* result = match(host, check, *each.check);
  if (result == nullptr) {
    fate.starts_after = milliseconds(1);
    fate.ends_after = milliseconds(6);
    // A failure of the run before is none of this one.
    const Duration age = simulation_->now().mono - host.started;
    const bool of_this = check.last != nullptr && check.last->started >= now - age;
    const bool bad = of_this && check.last->outcome != "pass";
    // Of a pass that changed nothing there need not be a record; any other result has one, unless
    // its probe was cut off.
    if ((bad || !of_this) && history_.is_cut_off(host.name, now, each.check->timeout)) {
      fate.ends_after.reset();
      return fate;
    }
    if (bad && check.last->outcome == "timeout") fate.ends_after.reset();
    if (bad) fate.end.code = 1;
    return fate;
  }
  fate.starts_after = at_least_one(result->started - now);
  if (result->outcome == "timeout") return fate;
  // One that took longer than it may was noticed late.
  const WallTime ended = result->started + result->took;
  const Duration took = std::min<Duration>(result->took, each.check->timeout - milliseconds(1));
  fate.starts_after = at_least_one(ended - took - now);
  fate.ends_after = std::max(*fate.starts_after, ended - now);
  fate.end.how = how_of(result->reason);
  if (fate.end.how == ProbeEnded::How::start_failed) fate.starts_after.reset();
  fate.end.code = result->code;
  fate.end.output = result->output;
  fate.end.output_bytes = result->output.size();
  if (result->outcome != "pass") fate.end.traced = result->traced;
  return fate;
}

Simulation::CaptureTime RecordedWorld::capture_time() {
  return [this](const Capture& capture, Now now) -> Duration {
    const auto* status = simulation_->supervisor().find(capture.container.id);
    History::Change* change =
        status == nullptr
            ? nullptr
            : history_.find(status->name, History::Change::Kind::captured, now.wall, seconds(10));
    if (change == nullptr) return milliseconds(50);
    change->played = true;
    return at_least_one(change->at - now.wall);
  };
}

Supervisor::Replay RecordedWorld::replay() {
  Supervisor::Replay replay;
  replay.jitter = [this](const std::string& name) {
    std::deque<double>& drawn = history_.containers[name].jitter;
    if (drawn.empty()) return 0.5;  // of a restart that never was
    const double share = drawn.front();
    drawn.pop_front();
    return share;
  };
  replay.budget = [this](Instant at) { return when(history_.budget_looks, at); };
  replay.release = [this](const std::string& name, Instant at) {
    return when(history_.containers[name].releases, at);
  };
  return replay;
}

// The first of TIMES that is no earlier than AT, if it is not much later; else AT.
Instant RecordedWorld::when(const std::vector<WallTime>& times, Instant at) const {
  if (simulation_ == nullptr) return at;
  const WallTime planned = simulation_->now().wall + (at - simulation_->now().mono);
  const auto found = std::lower_bound(times.begin(), times.end(), planned);
  const bool late = found != times.end() && *found - planned < kLookLate;
  return late ? at + (*found - planned) : at;
}

std::string RecordedWorld::id_of(const std::string& name) const {
  for (const ContainerStatus* container : simulation_->supervisor().containers()) {
    if (container->name == name) return container->id;
  }
  return {};
}

void RecordedWorld::plan(Simulation& simulation, const FindConfig& config) {
  simulation_ = &simulation;
  as_it_was_ = static_cast<bool>(config);
  for (const auto& [name, container] : history_.containers) {
    for (const History::Change& change : container.changes) {
      if (change.kind != History::Change::Kind::ended || change.asked) continue;
      Virtual::End end;
      end.code = change.code;
      end.signal = change.code > 128 ? change.code - 128 : 0;
      end.oom = change.oom;
      simulation.plan(
          change.at, [this, name = name, end] { simulation_->engine().end_now(id_of(name), end); });
    }
  }
  for (const History::Order& order : history_.orders) {
    if (order.what == History::Order::What::agent && order.died < order.at) {
      simulation.plan(order.died, [this] { simulation_->kill_agent(); });
    }
    simulation.plan(order.at, [this, order, config] { do_order(order, config); });
  }
}

// Nobody wrote down when the agent died, and with it what was in flight; but when each check was
// probed next.
void RecordedWorld::plan_probes(ContainerStatus& status) {
  const Now now = simulation_->now();
  for (CheckStatus& check : status.checks) {
    const std::vector<History::Result>& results =
        history_.containers[status.name].checks[check.spec->name].results;
    const auto next =
        std::find_if(results.begin(), results.end(),
                     [&](const History::Result& each) { return each.started > now.wall + kSpawn; });
    if (next != results.end()) check.next_probe = now.mono + (next->started - now.wall) - kSpawn;
  }
}

void RecordedWorld::do_order(const History::Order& order, const FindConfig& config) {
  if (order.what == History::Order::What::command) {
    Command command = order.command;
    command.container = id_of(order.name);
    return simulation_->give(command);
  }
  if (order.what == History::Order::What::shutdown) return simulation_->give(Shutdown{});
  std::shared_ptr<const ProjectSpec> project = config ? config(order.name) : nullptr;
  if (!project) project = simulation_->supervisor().project();
  if (order.what == History::Order::What::agent) {
    return simulation_->restart_agent(std::move(project),
                                      [this](ContainerStatus& status) { plan_probes(status); });
  }
  simulation_->give(Configure{std::move(project)});
}

}  // namespace keepwell
