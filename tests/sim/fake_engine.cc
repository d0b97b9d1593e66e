#include "tests/sim/fake_engine.h"

#include <algorithm>
#include <utility>

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

}  // namespace

std::string FakeEngine::text_of(const ContainerRef& container) {
  return container.id.substr(0, 6) + " run " + std::to_string(container.run);
}

ProbeEnded FakeEngine::ended_as(ProbeId id, ProbeEnded::How how) {
  ProbeEnded end;
  end.probe = id;
  end.how = how;
  return end;
}

FakeEngine::FakeEngine(std::uint64_t seed, Faults faults, Complain complain)
    : random_(seed), faults_(faults), complain_(std::move(complain)) {}

// ---- the timeline

void FakeEngine::happen(Happening happening, Duration after) {
  happening.at = now_.mono + after;
  happening.number = ++last_number_;
  happening.epoch = epoch_;
  if (const auto host = hosts_.find(happening.id); host != hosts_.end()) {
    happening.life = host->second.life;
  }
  timeline_.push(std::move(happening));
}

void FakeEngine::report(EngineEvent event) {
  Happening happening;
  happening.kind = Kind::report;
  happening.event.push_back(std::move(event));
  happen(std::move(happening), random_.between(Duration{0}, milliseconds(2)));
}

// News of one container may be late, but never overtake each other.
void FakeEngine::report_of(Host& host, EngineEvent event) {
  Instant at = now_.mono + random_.between(Duration{0}, milliseconds(2));
  if (random_.chance(faults_.late_news)) at += random_.between(Duration{0}, seconds(3));
  host.last_report = std::max(host.last_report, at);
  Happening happening;
  happening.kind = Kind::report;
  happening.event.push_back(std::move(event));
  happen(std::move(happening), host.last_report - now_.mono);
}

std::optional<Instant> FakeEngine::next() const {
  if (timeline_.empty()) return std::nullopt;
  return timeline_.top().at;
}

std::optional<EngineEvent> FakeEngine::take() {
  while (!timeline_.empty() && timeline_.top().at <= now_.mono) {
    Happening happening = timeline_.top();
    timeline_.pop();
    if (auto event = apply(happening)) return event;
  }
  return std::nullopt;
}

// Times are those of being noticed: a stalled agent sees everything late.
std::optional<EngineEvent> FakeEngine::deliver(EngineEvent event) {
  std::visit(
      [this](auto& each) {
        if constexpr (requires { each.at; }) {
          each.at = now_.mono;
          each.at_wall = now_.wall;
        }
      },
      event);
  if (const auto* ended = std::get_if<ProbeEnded>(&event)) {
    const auto probe = probes_.find(ended->probe);
    if (probe == probes_.end()) return std::nullopt;
    ended_probe_ = probe->second;
    probes_.erase(probe);
  }
  if (const auto* entered = std::get_if<ProbeEntered>(&event)) {
    const auto probe = probes_.find(entered->probe);
    if (probe == probes_.end()) return std::nullopt;
    probe->second.entered = now_.mono;
  }
  if (const auto* hook = std::get_if<HookEnded>(&event)) hooks_.erase(hook->hook);
  if (const auto* started = std::get_if<ProbeStarted>(&event)) {
    const auto probe = probes_.find(started->probe);
    if (probe == probes_.end()) return std::nullopt;
    probe->second.started = now_.mono;
  }
  return event;
}

std::optional<EngineEvent> FakeEngine::apply(Happening& happening) {
  const bool for_this_agent = happening.epoch == epoch_;
  if (happening.kind == Kind::report) {
    return for_this_agent ? deliver(std::move(happening.event.front())) : std::nullopt;
  }
  if (happening.kind == Kind::probe_enters || happening.kind == Kind::probe_starts ||
      happening.kind == Kind::probe_ends) {
    if (!for_this_agent || !probes_.contains(happening.probe)) return std::nullopt;
    if (happening.kind == Kind::probe_ends) {
      report(std::move(happening.end));
    } else if (happening.kind == Kind::probe_enters) {
      report(ProbeEntered{.probe = happening.probe, .at = {}, .at_wall = {}});
    } else {
      report(ProbeStarted{.probe = happening.probe, .at = {}, .at_wall = {}});
    }
    return std::nullopt;
  }
  Host& host = hosts_[happening.id];
  if (host.run != happening.run || host.life != happening.life) return std::nullopt;
  const ContainerRef ref{happening.id, host.run};
  if (happening.kind == Kind::come_up) {
    come_up(host, happening.id);
  } else if (host.phase == Host::Phase::running && happening.kind == Kind::exit) {
    const bool job = host.spec->name.starts_with("job");
    if (!healed_ || !happening.of_itself || job) end(host, happening.id, happening);
  } else if (happening.kind == Kind::freeze || happening.kind == Kind::thaw) {
    if (for_this_agent) freeze_or_thaw(host, ref, happening.kind);
  }
  return std::nullopt;
}

// An order that had no effect yet when its agent died has none.
void FakeEngine::freeze_or_thaw(Host& host, const ContainerRef& ref, Kind kind) {
  std::string error;
  if (host.phase != Host::Phase::running) {
    error = "not running";
  } else if (random_.chance(faults_.pause_fails)) {
    error = "cannot write cgroup.freeze";
  }
  if (error.empty()) {
    const bool was_frozen = std::exchange(host.frozen, kind == Kind::freeze);
    if (was_frozen && !host.frozen && host.signalled) obey_stop(host, ref.id);
  }
  if (kind == Kind::freeze) {
    report_of(host, ContainerPaused{ref, error});
  } else {
    report_of(host, ContainerResumed{ref, error});
  }
}

// Nothing goes wrong from now on, and who was sick is well.
void FakeEngine::heal() {
  faults_ = Faults{};
  healed_ = true;
  for (auto& [id, host] : hosts_) host.sick_from.reset();
}

// ---- containers

void FakeEngine::start(const StartOrder& order) {
  Host& host = hosts_[order.container.id];
  if (host.phase == Host::Phase::starting || host.phase == Host::Phase::running) {
    complain_("a second copy of " + text_of(order.container) + " was ordered");
  }
  // (An agent whose newest record was lost cannot know of the run that it had ordered.)
  if (order.container.run <= host.run && !torn_.contains(order.container.id))
    complain_("a run was used twice: " + text_of(order.container));
  torn_.erase(order.container.id);
  const Instant last_report = host.last_report;
  host = Host{};
  host.life = ++last_life_;
  host.last_report = last_report;
  host.phase = Host::Phase::starting;
  host.run = order.container.run;
  host.asked = true;
  host.kept = true;
  host.spec = order.spec;
  Happening up;
  up.kind = Kind::come_up;
  up.id = order.container.id;
  up.run = host.run;
  happen(std::move(up), random_.between(milliseconds(1), milliseconds(400)));
}

void FakeEngine::come_up(Host& host, const std::string& id) {
  if (host.phase != Host::Phase::starting) return;
  const ContainerRef ref{id, host.run};
  if (random_.chance(faults_.start_fails)) {
    host.phase = Host::Phase::none;
    if (host.asked)
      report_of(host, ContainerStartFailed{ref, 126 + random_.between(0, 2), "no such program"});
    return;
  }
  host.phase = Host::Phase::running;
  host.pid = ++last_pid_;
  host.started = now_.mono;
  plan_life(host, id);
  if (!host.asked) return;
  report_of(host, ContainerStarted{.container = ref,
                                   .pid = host.pid,
                                   .adopted = host.adopted,
                                   .paused = host.adopted ? std::optional(false) : std::nullopt});
}

// What its program will do if nobody interferes. A job is a service named job*: it ends with 0.
void FakeEngine::plan_life(Host& host, const std::string& id) {
  Happening exit;
  exit.kind = Kind::exit;
  exit.id = id;
  exit.run = host.run;
  exit.of_itself = true;
  exit.code = random_.chance(faults_.exit_is_zero) ? 0 : random_.between(1, 3);
  exit.oom = random_.chance(faults_.oom);
  if (exit.oom) {
    exit.code = 137;
    exit.signal = 9;
  }
  if (host.spec->name.starts_with("job")) {
    if (!random_.chance(faults_.exits_early)) {
      exit.code = 0;
      exit.oom = false;
    }
    happen(std::move(exit), random_.between(milliseconds(10), seconds(20)));
  } else if (random_.chance(faults_.exits_early)) {
    happen(std::move(exit), random_.between(Duration{0}, seconds(25)));
  } else if (random_.chance(faults_.exits_late)) {
    happen(std::move(exit), random_.between(seconds(10), minutes(60)));
  }
  if (random_.chance(faults_.falls_sick)) {
    host.sick_from = now_.mono + random_.between(Duration{0}, minutes(10));
    host.sick_hangs = random_.chance(0.5);
  }
}

void FakeEngine::end(Host& host, const std::string& id, const Happening& happening) {
  host.phase = Host::Phase::ended;
  host.frozen = false;
  host.held = true;
  host.exit = ContainerExited{.container = {id, host.run},
                              .known = true,
                              .code = happening.code,
                              .signal = happening.signal,
                              .oom_killed = happening.oom};
  for (const auto& [probe_id, probe] : probes_) {
    if (probe.container.id != id) continue;
    // It may have ended by itself a moment earlier, and the news of it may take its time.
    ProbeEnded gone = ended_as(probe_id, ProbeEnded::How::container_gone);
    if (probe.started && random_.chance(faults_.probe_ends_as_killed)) {
      gone.how = ProbeEnded::How::exited;
      gone.code = random_.between(0, 1);
      gone.output = "run " + std::to_string(host.run);
      gone.output_bytes = gone.output.size();
    }
    end_probe_at(probe_id,
                 random_.chance(faults_.late_news) ? random_.between(seconds(1), seconds(25))
                                                   : random_.between(Duration{0}, milliseconds(50)),
                 std::move(gone));
  }
  if (!host.asked) return;
  if (happening.oom && random_.chance(0.5)) report_of(host, ContainerOom{{id, host.run}});
  report_of(host, host.exit);
}

void FakeEngine::acknowledge(const ContainerRef& container) {
  const auto found = hosts_.find(container.id);
  if (found != hosts_.end() && found->second.run == container.run) found->second.held = false;
  torn_.erase(container.id);
}

void FakeEngine::adopt(const AdoptOrder& order) {
  const ContainerRef& ref = order.start.container;
  Host& host = hosts_[ref.id];
  // The record is behind the times, or it has ended before anybody had noted down its process: what
  // there is of it is killed.
  const bool unknown = order.pid == 0 && !host.kept && host.phase != Host::Phase::running;
  if (host.run != ref.run || unknown || host.phase == Host::Phase::none) {
    end_leftover(host);
    host.run = ref.run;
    host.asked = true;
    if (order.pid == 0) {
      return report_of(host, ContainerStartFailed{ref, 128, kNeverRan});
    }
    return report_of(host, ContainerExited{.container = ref, .known = false, .code = 255});
  }
  host.asked = true;
  host.adopted = true;
  switch (host.phase) {
    case Host::Phase::none:
    case Host::Phase::starting:
      return;  // come_up() tells
    case Host::Phase::running:
      return report_of(
          host, ContainerStarted{
                    .container = ref, .pid = host.pid, .adopted = true, .paused = host.frozen});
    case Host::Phase::ended:
      if (!host.held) {
        if (!torn_.contains(ref.id)) {
          complain_("an acknowledged exit was asked for again: " + text_of(ref));
        }
        host.exit = ContainerExited{.container = ref, .known = false, .code = 255};
      }
      return report_of(host, host.exit);
  }
}

FakeEngine::Host* FakeEngine::running(const ContainerRef& container) {
  const auto found = hosts_.find(container.id);
  if (found == hosts_.end() || found->second.run != container.run) return nullptr;
  return found->second.phase == Host::Phase::running ? &found->second : nullptr;
}

void FakeEngine::end_leftover(Host& host) {
  host.phase = Host::Phase::none;
  host.frozen = false;
  host.held = false;
  host.run = 0;
  host.life = ++last_life_;
}

void FakeEngine::clean_leftovers() {
  for (auto& [id, host] : hosts_) {
    if (host.asked) continue;
    const bool alive = host.phase == Host::Phase::starting || host.phase == Host::Phase::running;
    if (alive && !torn_.contains(id))
      complain_("a process of " + id.substr(0, 6) + " was forgotten");
    if (alive) end_leftover(host);
    host.held = false;
  }
}

Status FakeEngine::signal(const ContainerRef& container, int signal) {
  Host* host = running(container);
  if (host == nullptr) return fail(Errc::not_found, "cannot signal: no such process");
  if (random_.chance(faults_.signal_fails)) return fail(Errc::denied, "cannot signal");
  if (signal != 15 || host->signalled) return {};
  host->signalled = true;
  if (!host->frozen) obey_stop(*host, container.id);
  return {};
}

void FakeEngine::obey_stop(Host& host, const std::string& id) {
  if (random_.chance(faults_.ignores_stop)) return;
  Happening exit;
  exit.kind = Kind::exit;
  exit.id = id;
  exit.run = host.run;
  exit.code = random_.chance(0.5) ? 0 : 143;
  exit.signal = exit.code == 143 ? 15 : 0;
  happen(std::move(exit), random_.chance(faults_.slow_stop)
                              ? random_.between(seconds(1), seconds(15))
                              : random_.between(milliseconds(1), milliseconds(300)));
}

void FakeEngine::kill(const ContainerRef& container) {
  if (running(container) == nullptr) return;
  Happening exit;
  exit.kind = Kind::exit;
  exit.id = container.id;
  exit.run = container.run;
  exit.code = 137;
  exit.signal = 9;
  happen(std::move(exit), random_.chance(faults_.slow_kill)
                              ? random_.between(seconds(1), seconds(25))
                              : random_.between(milliseconds(1), milliseconds(20)));
}

void FakeEngine::pause(const ContainerRef& container) {
  Happening freeze;
  freeze.kind = Kind::freeze;
  freeze.id = container.id;
  freeze.run = container.run;
  happen(std::move(freeze), random_.between(milliseconds(1), milliseconds(100)));
}

void FakeEngine::resume(const ContainerRef& container) {
  Happening thaw;
  thaw.kind = Kind::thaw;
  thaw.id = container.id;
  thaw.run = container.run;
  happen(std::move(thaw), random_.between(milliseconds(1), milliseconds(100)));
}

void FakeEngine::remove(const std::string& id) {
  const auto found = hosts_.find(id);
  if (found == hosts_.end()) return;
  if (found->second.phase == Host::Phase::starting || found->second.phase == Host::Phase::running) {
    complain_("container " + id.substr(0, 6) + " was removed under a living process");
  }
  hosts_.erase(found);
  torn_.erase(id);
}

// ---- deaths

void FakeEngine::agent_died() {
  epoch_++;
  probes_.clear();
  hooks_.clear();
  for (auto& [id, host] : hosts_) {
    host.asked = false;
    host.adopted = false;
    // It takes several orders to the keeper; the rest of them is not given any more.
    const bool cut_short = host.phase == Host::Phase::starting && random_.chance(0.5);
    if (cut_short) host.phase = Host::Phase::none;
  }
}

// Whoever ends from now on, and whoever has ended unacknowledged, does so without a witness.
void FakeEngine::keeper_died() {
  agent_died();
  for (auto& [id, host] : hosts_) {
    host.kept = false;
    if (host.phase == Host::Phase::starting) host.phase = Host::Phase::none;
    if (host.phase == Host::Phase::ended && host.held) {
      host.exit.known = false;
      host.exit.code = 255;
      host.exit.signal = 0;
      host.exit.oom_killed = false;
    }
  }
}

const FakeEngine::Host* FakeEngine::host(const std::string& id) const {
  const auto found = hosts_.find(id);
  return found == hosts_.end() ? nullptr : &found->second;
}

}  // namespace keepwell
