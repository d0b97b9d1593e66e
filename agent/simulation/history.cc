#include "agent/simulation/history.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "agent/pressure_guard.h"
#include "config/duration.h"

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Virtual = VirtualEngine;

// A recorded start or end is taken for the simulated one if it is no further off.
constexpr Duration kNear = seconds(15);
// How far a simulated course may be ahead of the recorded one and still be the same.
constexpr Duration kAhead = milliseconds(1500);
// By which a loaded machine may be late at what was due.
constexpr Duration kLookLate = milliseconds(250);
// For how long an agent was dead before the next one began to write, at most.
constexpr Duration kDeathMax = seconds(1);
// From the order of a probe to its program, about.
constexpr Duration kSpawn = milliseconds(3);
// 2020: what is older was written before anybody had told the host the time.
constexpr WallTime kClockWasSet{seconds(1'577'836'800)};
constexpr WallTime kFarFuture{seconds(7'258'118'400)};  // 2200: such times can still be added to
constexpr Duration kLongest = std::chrono::hours(24 * 30);  // of anything that a record speaks of
// Successes that are put back, of one record and of all.
constexpr std::int64_t kPassesMax = 100'000;
constexpr std::int64_t kAllPassesMax = 20'000'000;

std::int64_t number_of(const std::string& text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

Duration length_of(std::int64_t nanoseconds) {
  return std::clamp(Duration(nanoseconds), Duration{0}, kLongest);
}

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

bool kind_of(const std::string& word, Command::Kind& kind) {
  constexpr std::pair<const char*, Command::Kind> kKinds[] = {
      {"start", Command::Kind::start},
      {"stop", Command::Kind::stop},
      {"restart", Command::Kind::restart},
      {"kill", Command::Kind::kill},
      {"pause", Command::Kind::pause},
      {"unpause", Command::Kind::unpause},
      {"probe", Command::Kind::probe_now},
      {"pause-check", Command::Kind::pause_check},
      {"resume-check", Command::Kind::resume_check},
      {"hold", Command::Kind::hold},
      {"release", Command::Kind::release}};
  for (const auto& [name, each] : kKinds) {
    if (word != name) continue;
    kind = each;
    return true;
  }
  return false;
}

}  // namespace

// ---- reading

RecordedWorld::RecordedWorld(const std::vector<Event>& records) {
  for (const Event& event : records) {
    if (event.at < kClockWasSet || event.at > kFarFuture) continue;
    if (begin_ == WallTime{}) begin_ = event.at;
    end_ = std::max(end_, event.at);
    read(event);
    last_at_ = event.at;
  }
  std::sort(budget_looks_.begin(), budget_looks_.end());
  for (auto& [name, container] : containers_) {
    std::sort(container.releases.begin(), container.releases.end());
    std::stable_sort(container.changes.begin(), container.changes.end(),
                     [](const Change& a, const Change& b) { return a.at < b.at; });
    bool signalled = false;
    for (Change& change : container.changes) {
      if (change.kind == Change::Kind::started) signalled = false;
      if (change.kind == Change::Kind::signalled) signalled = true;
      if (change.kind == Change::Kind::ended) change.asked = std::exchange(signalled, false);
    }
  }
}

void RecordedWorld::read(const Event& event) {
  if (event.kind == EventKind::result) return read_result(event);
  if (event.kind == EventKind::fact) return read_fact(event);
  std::vector<Change>& changes = containers_[event.name].changes;
  const auto add = [&](Change::Kind kind, const std::string& code) {
    Change change;
    change.at = event.at;
    change.kind = kind;
    change.code = static_cast<int>(number_of(code));
    change.detail = event.attribute("error");
    changes.push_back(change);
  };
  if (event.kind == EventKind::decision) {
    if (event.action == "captured") add(Change::Kind::captured, "");
    const bool refused = event.action == "suppressed" && event.attribute("reason") == "budget";
    if (event.action == "budget" || refused) budget_looks_.push_back(event.at);
    if (const std::string& drawn = event.attribute("drawn"); !drawn.empty()) {
      containers_[event.name].jitter.push_back(std::strtod(drawn.c_str(), nullptr));
    }
    return;
  }
  if (event.action == "release") containers_[event.name].releases.push_back(event.at);
  if (event.action == "start") {
    add(Change::Kind::started, "");
    containers_[event.name].started = event.at;
  }
  if (event.action == "start_failed") add(Change::Kind::start_failed, event.attribute("exitCode"));
  if (event.action == "kill") add(Change::Kind::signalled, event.attribute("signal"));
  if (event.action == "die") {
    // An oom is told just before the end that it caused.
    const bool oom = !changes.empty() && changes.back().oom;
    if (oom) changes.pop_back();
    add(Change::Kind::ended, event.attribute("exitCode"));
    changes.back().oom = oom;
  }
  if (event.action == "oom") {
    add(Change::Kind::ended, "");
    changes.back().oom = true;
  }
}

void RecordedWorld::read_result(const Event& event) {
  Container& container = containers_[event.name];
  Check& check = container.checks[event.attribute("check")];
  Result result;
  result.took = length_of(number_of(event.attribute("took")));
  result.started = event.at - result.took;
  result.outcome = event.attribute("outcome");
  result.reason = event.attribute("reason");
  result.code = static_cast<int>(number_of(event.attribute("exit")));
  result.output = event.attribute("output");
  result.pressure = event.attribute("pressure");
  result.traced = !event.attribute("traced").empty();
  put_back_passes(container, check, result, event);
  check.results.push_back(std::move(result));
}

// The successes before RESULT that nobody wrote down one by one: evenly in between. Where a new run
// lies in between (whose first result always has a record) they were of the old one, and follow the
// record before at their usual pace; where a new agent does, it has only counted its own.
void RecordedWorld::put_back_passes(const Container& container, Check& check, const Result& result,
                                    const Event& event) {
  if (check.results.empty()) return;
  const WallTime before = check.results.back().started;
  const std::int64_t passes =
      std::min({number_of(event.attribute("passes")), kPassesMax, kAllPassesMax - passes_});
  const Duration even = (result.started - before) / (std::max<std::int64_t>(passes, 0) + 1);
  if (even <= Duration{0}) return;
  const bool new_run = container.started > before;
  const bool new_agent = agent_began_ > before;
  if (!new_run && !new_agent && (check.pace == Duration{0} || even < check.pace)) check.pace = even;
  if (passes <= 0) return;
  const Duration step = check.pace == Duration{0} ? even : std::min(even, check.pace);
  const Duration each = length_of(number_of(event.attribute("passes_took"))) / passes;
  passes_ += passes;
  for (std::int64_t i = 1; i <= passes; ++i) {
    Result pass;
    pass.started = before + even * i;
    if (new_agent) {
      pass.started = result.started - step * (passes + 1 - i);
    } else if (new_run) {
      pass.started = before + step * i;
    }
    pass.took = each;
    pass.outcome = "pass";
    check.results.push_back(std::move(pass));
  }
}

void RecordedWorld::read_fact(const Event& event) {
  if (event.action == "command") return read_command(event);
  if (event.action == "configure") return read_configure(event);
  if (event.action != "shutdown") return;
  Order order;
  order.at = event.at;
  order.what = Order::What::shutdown;
  orders_.push_back(std::move(order));
}

void RecordedWorld::read_configure(const Event& event) {
  const std::string& name = event.attribute("config");
  const std::string& first = event.attribute("first");  // not there: repeated in a new file
  if (!std::exchange(configured_, true)) {
    first_config_ = name;
    return;
  }
  if (first.empty()) return;
  if (first == "yes") agent_began_ = event.at;
  Order order;
  order.at = event.at;
  order.what = first == "yes" ? Order::What::agent : Order::What::configure;
  order.died = std::max(last_at_ + milliseconds(1), event.at - kDeathMax);
  order.name = name;
  orders_.push_back(std::move(order));
}

void RecordedWorld::read_command(const Event& event) {
  Order order;
  order.at = event.at;
  order.name = event.name;
  if (!kind_of(event.attribute("kind"), order.command.kind)) return;
  order.command.signal = static_cast<int>(number_of(event.attribute("signal")));
  order.command.check = event.attribute("check");
  order.command.reason = event.attribute("why");
  if (const auto grace = parse_duration(event.attribute("grace")))
    order.command.grace = std::min(*grace, kLongest);
  if (const auto length = parse_duration(event.attribute("for")))
    order.command.hold_for = std::min(*length, kLongest);
  orders_.push_back(std::move(order));
}

RecordedWorld::Change* RecordedWorld::find(const std::string& name, Change::Kind kind, WallTime at,
                                           Duration span) {
  const auto container = containers_.find(name);
  if (container == containers_.end()) return nullptr;
  std::vector<Change>& changes = container->second.changes;
  for (auto change = std::lower_bound(
           changes.begin(), changes.end(), at - kAhead,
           [](const Change& each, WallTime earliest) { return each.at < earliest; });
       change != changes.end() && change->at <= at + span; ++change) {
    if (change->kind != kind || change->played) continue;
    // What ended by itself answers no order.
    if (kind == Change::Kind::ended && !change->asked) continue;
    return &*change;
  }
  return nullptr;
}

// ---- playing

VirtualEngine::World RecordedWorld::world() {
  Virtual::World world;
  world.start = [this](const Virtual::Host& host) {
    Virtual::Start start;
    start.after = milliseconds(100);
    const WallTime now = wall_now();
    Change* good = find(host.name, Change::Kind::started, now, kNear);
    Change* bad = find(host.name, Change::Kind::start_failed, now, kNear);
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
    Change* change =
        find(host.name, Change::Kind::ended, now, host.spec->stop_grace_period + kNear);
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
    Change* change = find(host.name, Change::Kind::ended, now, kNear);
    if (change == nullptr) return host.signalled ? kNear : milliseconds(10);
    change->played = true;
    return at_least_one(change->at - now);
  };
  world.probe = [this](const Virtual::Probe& each, const Virtual::Host& host, Instant) {
    return probe(each, host);
  };
  world.probe_dies = [this](const Virtual::Probe& each, const Virtual::Host& host,
                            ProbeEnded& end) -> Duration {
    const auto container = containers_.find(host.name);
    if (container == containers_.end() || end.how != ProbeEnded::How::killed) {
      return milliseconds(1);
    }
    const Result* last = container->second.checks[each.check->name].last;
    if (last == nullptr || last->outcome != "timeout") return milliseconds(1);
    end.pressure = parse_pressure(last->pressure);
    end.traced = last->traced;
    return at_least_one(last->started + last->took - wall_now());
  };
  return world;
}

// The result that stands for a probe which is started NOW: the next one that was not played, if it
// began about now; none: the last one still says how things are.
const RecordedWorld::Result* RecordedWorld::match(const VirtualEngine::Host& host, Check& check,
                                                  const CheckSpec& spec) {
  const WallTime now = wall_now();
  const Duration slack = std::max<Duration>(spec.interval / 2, milliseconds(200));
  while (check.next < check.results.size() && check.results[check.next].started < now - slack) {
    check.last = &check.results[check.next++];
  }
  if (check.next == check.results.size()) return nullptr;
  const Result& next = check.results[check.next];
  if (next.started > now + slack) {
    // After a failure every result has a record: it is of this probe, however long it took to start
    // on a stalled host.
    const bool failing = check.last != nullptr && check.last->outcome != "pass" &&
                         check.last->started >= now - (simulation_->now().mono - host.started);
    if (!as_it_was_ || !failing || next.started > now + kProbeStartGuard ||
        is_cut_off(host.name, now, next.started - now)) {
      return nullptr;
    }
  }
  check.next++;
  check.last = &next;
  return &next;
}

// Whether the container NAME, or the agent, ended within SPAN from AT on.
bool RecordedWorld::is_cut_off(const std::string& name, WallTime at, Duration span) const {
  const auto within = [&](WallTime end) { return end > at && end <= at + span; };
  for (const Order& order : orders_) {
    if (order.what == Order::What::agent && within(order.died)) return true;
  }
  const auto container = containers_.find(name);
  if (container == containers_.end()) return false;
  const std::vector<Change>& changes = container->second.changes;
  for (auto change = std::lower_bound(
           changes.begin(), changes.end(), at,
           [](const Change& each, WallTime earliest) { return each.at < earliest; });
       change != changes.end() && change->at <= at + span; ++change) {
    if (change->kind == Change::Kind::ended) return true;
  }
  return false;
}

VirtualEngine::ProbeFate RecordedWorld::probe(const VirtualEngine::Probe& each,
                                              const VirtualEngine::Host& host) {
  Virtual::ProbeFate fate;
  const WallTime now = wall_now();
  Check& check = containers_[host.name].checks[each.check->name];
  const Result* result = match(host, check, *each.check);
  if (result == nullptr) {
    fate.starts_after = milliseconds(1);
    fate.ends_after = milliseconds(6);
    // A failure of the run before is none of this one.
    const Duration age = simulation_->now().mono - host.started;
    const bool of_this = check.last != nullptr && check.last->started >= now - age;
    const bool bad = of_this && check.last->outcome != "pass";
    // Of a pass that changed nothing there need not be a record; any other result has one, unless
    // its probe was cut off.
    if ((bad || !of_this) && is_cut_off(host.name, now, each.check->timeout)) {
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
    Change* change = status == nullptr
                         ? nullptr
                         : find(status->name, Change::Kind::captured, now.wall, seconds(10));
    if (change == nullptr) return milliseconds(50);
    change->played = true;
    return at_least_one(change->at - now.wall);
  };
}

Supervisor::Replay RecordedWorld::replay() {
  Supervisor::Replay replay;
  replay.jitter = [this](const std::string& name) {
    std::deque<double>& drawn = containers_[name].jitter;
    if (drawn.empty()) return 0.5;  // of a restart that never was
    const double share = drawn.front();
    drawn.pop_front();
    return share;
  };
  replay.budget = [this](Instant at) { return when(budget_looks_, at); };
  replay.release = [this](const std::string& name, Instant at) {
    return when(containers_[name].releases, at);
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
  for (const auto& [name, container] : containers_) {
    for (const Change& change : container.changes) {
      if (change.kind != Change::Kind::ended || change.asked) continue;
      Virtual::End end;
      end.code = change.code;
      end.signal = change.code > 128 ? change.code - 128 : 0;
      end.oom = change.oom;
      simulation.plan(
          change.at, [this, name = name, end] { simulation_->engine().end_now(id_of(name), end); });
    }
  }
  for (const Order& order : orders_) {
    if (order.what == Order::What::agent && order.died < order.at) {
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
    const std::vector<Result>& results = containers_[status.name].checks[check.spec->name].results;
    const auto next = std::find_if(results.begin(), results.end(), [&](const Result& each) {
      return each.started > now.wall + kSpawn;
    });
    if (next != results.end()) check.next_probe = now.mono + (next->started - now.wall) - kSpawn;
  }
}

void RecordedWorld::do_order(const Order& order, const FindConfig& config) {
  if (order.what == Order::What::command) {
    Command command = order.command;
    command.container = id_of(order.name);
    return simulation_->give(command);
  }
  if (order.what == Order::What::shutdown) return simulation_->give(Shutdown{});
  std::shared_ptr<const ProjectSpec> project = config ? config(order.name) : nullptr;
  if (!project) project = simulation_->supervisor().project();
  if (order.what == Order::What::agent) {
    return simulation_->restart_agent(std::move(project),
                                      [this](ContainerStatus& status) { plan_probes(status); });
  }
  simulation_->give(Configure{std::move(project)});
}

}  // namespace keepwell
