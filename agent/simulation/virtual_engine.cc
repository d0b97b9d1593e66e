#include "agent/simulation/virtual_engine.h"

#include <algorithm>
#include <utility>

namespace keepwell {
namespace {

using std::chrono::milliseconds;

std::string text_of(const ContainerRef& container) {
  return container.id.substr(0, 6) + " run " + std::to_string(container.run);
}

ProbeEnded ended_as(ProbeId id, ProbeEnded::How how) {
  ProbeEnded end;
  end.probe = id;
  end.how = how;
  return end;
}

bool is_job(const VirtualEngine::Host& host) { return host.spec->name.starts_with("job"); }

}  // namespace

VirtualEngine::VirtualEngine(World world, Complain complain)
    : world_(std::move(world)), complain_(std::move(complain)) {}

// ---- the timeline

void VirtualEngine::happen(Happening happening, Duration after) {
  happening.at = now_.mono + after;
  happening.number = ++last_number_;
  happening.epoch = epoch_;
  timeline_.push(std::move(happening));
}

void VirtualEngine::happen(Kind kind, const ContainerRef& container, const End& end) {
  Happening happening;
  happening.kind = kind;
  happening.id = container.id;
  happening.run = container.run;
  happening.end = end;
  happen(std::move(happening), end.after);
}

void VirtualEngine::report(EngineEvent event) {
  Happening happening;
  happening.kind = Kind::report;
  happening.event.push_back(std::move(event));
  happen(std::move(happening), world_.news(false));
}

// News of one container may be late, but never overtake each other.
void VirtualEngine::report_of(Host& host, EngineEvent event) {
  host.last_report = std::max(host.last_report, now_.mono + world_.news(true));
  Happening happening;
  happening.kind = Kind::report;
  happening.event.push_back(std::move(event));
  happen(std::move(happening), host.last_report - now_.mono);
}

std::optional<Instant> VirtualEngine::next() const {
  if (timeline_.empty()) return std::nullopt;
  return timeline_.top().at;
}

std::optional<EngineEvent> VirtualEngine::take() {
  while (!timeline_.empty() && timeline_.top().at <= now_.mono) {
    Happening happening = timeline_.top();
    timeline_.pop();
    if (auto event = apply(happening)) return event;
  }
  return std::nullopt;
}

// Times are those of being noticed: a stalled agent sees everything late.
std::optional<EngineEvent> VirtualEngine::deliver(EngineEvent event) {
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
  if (const auto* started = std::get_if<ProbeStarted>(&event)) {
    const auto probe = probes_.find(started->probe);
    if (probe == probes_.end()) return std::nullopt;
    probe->second.started = now_.mono;
  }
  return event;
}

std::optional<EngineEvent> VirtualEngine::apply(Happening& happening) {
  const bool for_this_agent = happening.epoch == epoch_;
  if (happening.kind == Kind::report) {
    return for_this_agent ? deliver(std::move(happening.event.front())) : std::nullopt;
  }
  if (happening.kind == Kind::probe_starts || happening.kind == Kind::probe_ends) {
    if (!for_this_agent || !probes_.contains(happening.probe)) return std::nullopt;
    if (happening.kind == Kind::probe_ends) {
      report(std::move(happening.probe_end));
    } else {
      report(ProbeStarted{.probe = happening.probe, .at = {}, .at_wall = {}});
    }
    return std::nullopt;
  }
  Host& host = hosts_[happening.id];
  if (host.run != happening.run) return std::nullopt;
  if (happening.kind == Kind::come_up) {
    come_up(host, happening);
  } else if (host.phase == Host::Phase::running && happening.kind == Kind::exit) {
    if (!healed_ || !happening.of_itself || is_job(host)) end(host, happening.id, happening.end);
  } else if (happening.kind == Kind::freeze || happening.kind == Kind::thaw) {
    if (for_this_agent) freeze_or_thaw(host, happening);
  }
  return std::nullopt;
}

// An order that had no effect yet when its agent died has none.
void VirtualEngine::freeze_or_thaw(Host& host, const Happening& happening) {
  const ContainerRef ref{happening.id, host.run};
  std::string error = happening.start.text;
  if (host.phase != Host::Phase::running) error = "not running";
  if (error.empty()) {
    const bool was_frozen = std::exchange(host.frozen, happening.kind == Kind::freeze);
    if (was_frozen && !host.frozen && host.signalled) obey_stop(host, ref.id);
  }
  if (happening.kind == Kind::freeze) {
    report_of(host, ContainerPaused{ref, error});
  } else {
    report_of(host, ContainerResumed{ref, error});
  }
}

void VirtualEngine::heal() {
  healed_ = true;
  for (auto& [id, host] : hosts_) host.sick_from.reset();
}

// ---- containers

void VirtualEngine::start(const StartOrder& order) {
  Host& host = hosts_[order.container.id];
  if (host.phase == Host::Phase::starting || host.phase == Host::Phase::running) {
    complain_("a second copy of " + text_of(order.container) + " was ordered");
  }
  if (order.container.run <= host.run)
    complain_("a run was used twice: " + text_of(order.container));
  const Instant last_report = host.last_report;
  host = Host{};
  host.last_report = last_report;
  host.phase = Host::Phase::starting;
  host.run = order.container.run;
  host.asked = true;
  host.name = order.name;
  host.spec = order.spec;
  Happening up;
  up.kind = Kind::come_up;
  up.id = order.container.id;
  up.run = host.run;
  up.start = world_.start(host);
  happen(up, up.start.after);
}

void VirtualEngine::come_up(Host& host, const Happening& happening) {
  if (host.phase != Host::Phase::starting) return;
  const ContainerRef ref{happening.id, host.run};
  if (happening.start.failed_with != 0) {
    host.phase = Host::Phase::none;
    if (host.asked) {
      report_of(host, ContainerStartFailed{ref, happening.start.failed_with, happening.start.text});
    }
    return;
  }
  host.phase = Host::Phase::running;
  host.pid = ++last_pid_;
  host.started = now_.mono;
  plan_life(host, happening.id);
  if (!host.asked) return;
  report_of(host, ContainerStarted{.container = ref,
                                   .pid = host.pid,
                                   .adopted = host.adopted,
                                   .paused = host.adopted ? std::optional(false) : std::nullopt});
}

void VirtualEngine::plan_life(Host& host, const std::string& id) {
  const Life life = world_.life(host);
  if (life.end) {
    Happening exit;
    exit.kind = Kind::exit;
    exit.id = id;
    exit.run = host.run;
    exit.end = *life.end;
    exit.of_itself = true;
    happen(exit, life.end->after);
  }
  if (life.sick_after) {
    host.sick_from = now_.mono + *life.sick_after;
    host.sick_hangs = life.sick_hangs;
  }
}

void VirtualEngine::end(Host& host, const std::string& id, const End& end) {
  host.phase = Host::Phase::ended;
  host.frozen = false;
  host.held = true;
  host.exit = ContainerExited{.container = {id, host.run},
                              .known = true,
                              .code = end.code,
                              .signal = end.signal,
                              .oom_killed = end.oom};
  for (const auto& [probe_id, probe] : probes_) {
    if (probe.container.id != id) continue;
    // It may have ended by itself a moment earlier, and the news of it may take its time.
    ProbeEnded gone = ended_as(probe_id, ProbeEnded::How::container_gone);
    const Duration after = world_.probe_dies(probe, host, gone);
    end_probe_at(probe_id, after, std::move(gone));
  }
  if (host.asked) report_of(host, host.exit);
}

void VirtualEngine::end_now(const std::string& id, const End& end) {
  const auto found = hosts_.find(id);
  if (found == hosts_.end() || found->second.phase != Host::Phase::running) return;
  happen(Kind::exit, {id, found->second.run}, end);
}

void VirtualEngine::acknowledge(const ContainerRef& container) {
  const auto found = hosts_.find(container.id);
  if (found != hosts_.end() && found->second.run == container.run) found->second.held = false;
}

void VirtualEngine::adopt(const AdoptOrder& order) {
  const ContainerRef& ref = order.start.container;
  Host& host = hosts_[ref.id];
  if (host.run != ref.run || host.phase == Host::Phase::none) {
    return report_of(host, ContainerStartFailed{ref, 128, "it had not come to run"});
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
      if (!host.held) complain_("an acknowledged exit was asked for again: " + text_of(ref));
      return report_of(host, host.exit);
  }
}

VirtualEngine::Host* VirtualEngine::running(const ContainerRef& container) {
  const auto found = hosts_.find(container.id);
  if (found == hosts_.end() || found->second.run != container.run) return nullptr;
  return found->second.phase == Host::Phase::running ? &found->second : nullptr;
}

Status VirtualEngine::signal(const ContainerRef& container, int signal) {
  Host* host = running(container);
  if (host == nullptr) return fail(Errc::not_found, "cannot signal: no such process");
  if (signal != 15 || host->signalled) return {};
  host->signalled = true;
  if (!host->frozen) obey_stop(*host, container.id);
  return {};
}

void VirtualEngine::obey_stop(Host& host, const std::string& id) {
  if (const auto end = world_.stop(host)) happen(Kind::exit, {id, host.run}, *end);
}

void VirtualEngine::kill(const ContainerRef& container) {
  const Host* host = running(container);
  if (host == nullptr) return;
  happen(Kind::exit, container, {.after = world_.kill(*host), .code = 137, .signal = 9});
}

void VirtualEngine::pause(const ContainerRef& container) { change_frozen(container, Kind::freeze); }
void VirtualEngine::resume(const ContainerRef& container) { change_frozen(container, Kind::thaw); }

void VirtualEngine::change_frozen(const ContainerRef& container, Kind kind) {
  Happening change;
  change.kind = kind;
  change.id = container.id;
  change.run = container.run;
  change.start = world_.freeze(hosts_[container.id]);
  happen(change, change.start.after);
}

void VirtualEngine::remove(const std::string& id) {
  const auto found = hosts_.find(id);
  if (found == hosts_.end()) return;
  if (found->second.phase == Host::Phase::starting || found->second.phase == Host::Phase::running) {
    complain_("container " + id.substr(0, 6) + " was removed under a living process");
  }
  hosts_.erase(found);
}

// ---- probes

void VirtualEngine::start_probe(const ProbeOrder& order) {
  if (probes_.contains(order.id)) complain_("a probe id was used twice");
  for (const auto& [id, probe] : probes_) {
    if (probe.container.id == order.container.id && probe.check->name == order.check->name) {
      complain_("two probes of one check at once: " + text_of(order.container) + ", " +
                order.check->name);
    }
  }
  const Probe& probe = probes_[order.id] = Probe{.container = order.container,
                                                 .check = order.check,
                                                 .ordered = now_.mono,
                                                 .started = {},
                                                 .kill_asked = {}};
  const Host* host = running(order.container);
  if (host == nullptr) {
    return end_probe_at(order.id, milliseconds(1),
                        ended_as(order.id, ProbeEnded::How::container_gone));
  }
  if (host->frozen) complain_("a probe in a frozen container: " + text_of(order.container));
  ProbeFate fate = world_.probe(probe, *host, now_.mono);
  if (fate.starts_after) {
    Happening starts;
    starts.kind = Kind::probe_starts;
    starts.probe = order.id;
    happen(std::move(starts), *fate.starts_after);
  }
  if (!fate.ends_after) return;
  fate.end.probe = order.id;
  end_probe_at(order.id, *fate.ends_after, std::move(fate.end));
}

void VirtualEngine::end_probe_at(ProbeId id, Duration after, ProbeEnded end) {
  Happening ends;
  ends.kind = Kind::probe_ends;
  ends.probe = id;
  ends.probe_end = std::move(end);
  happen(std::move(ends), after);
}

void VirtualEngine::kill_probe(ProbeId id) {
  const auto found = probes_.find(id);
  if (found == probes_.end()) return;
  Probe& probe = found->second;
  if (probe.kill_asked) return;
  probe.kill_asked = now_.mono;
  ProbeEnded end = ended_as(id, ProbeEnded::How::killed);
  end.code = 137;
  const Duration after = world_.probe_dies(probe, hosts_[probe.container.id], end);
  end_probe_at(id, after, std::move(end));
}

// Nothing is run here: every hook does well at once.
void VirtualEngine::run_hook(const HookOrder& order) {
  HookEnded ended;
  ended.hook = order.id;
  report(ended);
}

// ---- deaths

void VirtualEngine::agent_died() {
  epoch_++;
  probes_.clear();
  for (auto& [id, host] : hosts_) {
    host.asked = false;
    host.adopted = false;
  }
}

// Whoever ends from now on, and whoever has ended unacknowledged, does so without a witness.
void VirtualEngine::keeper_died() {
  agent_died();
  for (auto& [id, host] : hosts_) {
    if (host.phase == Host::Phase::ended && host.held) {
      host.exit.known = false;
      host.exit.code = 255;
      host.exit.signal = 0;
      host.exit.oom_killed = false;
    }
  }
}

const VirtualEngine::Host* VirtualEngine::host(const std::string& id) const {
  const auto found = hosts_.find(id);
  return found == hosts_.end() ? nullptr : &found->second;
}

}  // namespace keepwell
