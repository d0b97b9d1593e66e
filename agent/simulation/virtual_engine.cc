#include "agent/simulation/virtual_engine.h"

#include <algorithm>
#include <utility>

namespace keepwell {
namespace {

using std::chrono::milliseconds;

// After a hook's timeout: until then its end has been told.
constexpr Duration kHookEndMax = std::chrono::seconds(5);

std::string text_of(const ContainerRef& container) {
  return container.id.substr(0, 6) + " run " + std::to_string(container.run);
}

ProbeEnded ended_as(ProbeId id, ProbeEnded::How how) {
  ProbeEnded end;
  end.probe = id;
  end.how = how;
  return end;
}

ContainerExited unwitnessed(const ContainerRef& container) {
  return {.container = container, .known = false, .code = 255};
}

bool is_alive(const VirtualEngine::Host& host) {
  return host.phase == VirtualEngine::Host::Phase::starting ||
         host.phase == VirtualEngine::Host::Phase::running;
}

}  // namespace

VirtualEngine::VirtualEngine(World world, Complain complain)
    : world_(std::move(world)), complain_(std::move(complain)) {}

// ---- the timeline

void VirtualEngine::happen(Happening happening, Duration after) {
  happening.at = now_.mono + after;
  happening.number = ++last_number_;
  happening.epoch = epoch_;
  if (const Host* of = host(happening.container.id)) happening.life = of->life;
  timeline_.push(std::move(happening));
}

void VirtualEngine::happen_to_probe(ProbeId id, EngineEvent event, Duration after) {
  happen({.kind = Kind::of_probe, .probe = id, .event = {std::move(event)}}, after);
}

void VirtualEngine::report(EngineEvent event, Duration after) {
  happen({.kind = Kind::report, .event = {std::move(event)}}, after);
}

// News of one container may be late, but never overtake each other.
void VirtualEngine::report_of(Host& host, EngineEvent event) {
  host.last_report = std::max(host.last_report, now_.mono + world_.news(true));
  report(std::move(event), host.last_report - now_.mono);
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
  if (const auto* entered = std::get_if<ProbeEntered>(&event)) {
    const auto probe = probes_.find(entered->probe);
    if (probe == probes_.end()) return std::nullopt;
    probe->second.entered = now_.mono;
  }
  if (const auto* started = std::get_if<ProbeStarted>(&event)) {
    const auto probe = probes_.find(started->probe);
    if (probe == probes_.end()) return std::nullopt;
    probe->second.started = now_.mono;
  }
  if (const auto* hook = std::get_if<HookEnded>(&event)) hooks_.erase(hook->hook);
  return event;
}

std::optional<EngineEvent> VirtualEngine::apply(Happening& happening) {
  const bool for_this_agent = happening.epoch == epoch_;
  if (happening.kind == Kind::report) {
    return for_this_agent ? deliver(std::move(happening.event.front())) : std::nullopt;
  }
  if (happening.kind == Kind::of_probe) {
    if (for_this_agent && probes_.contains(happening.probe)) {
      report(std::move(happening.event.front()), world_.news(false));
    }
    return std::nullopt;
  }
  Host& host = hosts_[happening.container.id];
  if (host.run != happening.container.run || host.life != happening.life) return std::nullopt;
  if (happening.kind == Kind::come_up) {
    come_up(host, happening);
  } else if (host.phase == Host::Phase::running && happening.kind == Kind::exit) {
    if (!happening.of_itself || world_.ends_after_all(host)) end(host, happening);
  } else if (happening.kind == Kind::freeze || happening.kind == Kind::thaw) {
    if (for_this_agent) freeze_or_thaw(host, happening);
  }
  return std::nullopt;
}

// An order that had no effect yet when its agent died has none.
void VirtualEngine::freeze_or_thaw(Host& host, const Happening& happening) {
  const ContainerRef& ref = happening.container;
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

// ---- containers

void VirtualEngine::start(const StartOrder& order) {
  Host& host = hosts_[order.container.id];
  if (is_alive(host)) complain_("a second copy of " + text_of(order.container) + " was ordered");
  // (An agent whose newest record was lost cannot know of the run that it had ordered.)
  if (order.container.run <= host.run && !host.record_lost)
    complain_("a run was used twice: " + text_of(order.container));
  const Instant last_report = host.last_report;
  host = Host{};
  host.life = ++last_life_;
  host.last_report = last_report;
  host.phase = Host::Phase::starting;
  host.run = order.container.run;
  host.asked = true;
  host.kept = true;
  host.name = order.name;
  host.spec = order.spec;
  const Start start = world_.start(host);
  happen({.kind = Kind::come_up, .container = order.container, .start = start}, start.after);
}

void VirtualEngine::come_up(Host& host, const Happening& happening) {
  if (host.phase != Host::Phase::starting) return;
  const ContainerRef& ref = happening.container;
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
  if (const auto end = world_.life(host)) {
    happen({.kind = Kind::exit, .container = ref, .end = *end, .of_itself = true}, end->after);
  }
  if (!host.asked) return;
  report_of(host, ContainerStarted{.container = ref,
                                   .pid = host.pid,
                                   .adopted = host.adopted,
                                   .paused = host.adopted ? std::optional(false) : std::nullopt});
}

void VirtualEngine::end(Host& host, const Happening& happening) {
  const ContainerRef& ref = happening.container;
  host.phase = Host::Phase::ended;
  host.frozen = false;
  host.held = true;
  host.exit = ContainerExited{.container = ref,
                              .known = true,
                              .code = happening.end.code,
                              .signal = happening.end.signal,
                              .oom_killed = happening.end.oom};
  for (const auto& [probe_id, probe] : probes_) {
    if (probe.container.id != ref.id) continue;
    // It may have ended by itself a moment earlier, and the news of it may take its time.
    ProbeEnded gone = ended_as(probe_id, ProbeEnded::How::container_gone);
    const Duration after = world_.probe_dies(probe, host, gone);
    happen_to_probe(probe_id, std::move(gone), after);
  }
  if (!host.asked) return;
  if (happening.end.oom_told) report_of(host, ContainerOom{ref});
  report_of(host, host.exit);
}

void VirtualEngine::end_now(const std::string& id, const End& end) {
  const Host* of = host(id);
  if (of == nullptr || of->phase != Host::Phase::running) return;
  happen({.kind = Kind::exit, .container = {id, of->run}, .end = end}, end.after);
}

void VirtualEngine::acknowledge(const ContainerRef& container) {
  const auto found = hosts_.find(container.id);
  if (found == hosts_.end()) return;
  if (found->second.run == container.run) found->second.held = false;
  found->second.record_lost = false;
}

void VirtualEngine::adopt(const AdoptOrder& order) {
  const ContainerRef& ref = order.start.container;
  Host& host = hosts_[ref.id];
  // The record is behind the times, or it has ended before anybody had noted down its process: what
  // there is of it is killed.
  const bool unknown = order.pid == 0 && !host.kept && host.phase != Host::Phase::running;
  if (host.run != ref.run || unknown || host.phase == Host::Phase::none) {
    end_leftover(host);
    host.run = ref.run;
    host.asked = true;
    if (order.pid == 0) return report_of(host, ContainerStartFailed{ref, 128, kNeverRan});
    return report_of(host, unwitnessed(ref));
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
        if (!host.record_lost) {
          complain_("an acknowledged exit was asked for again: " + text_of(ref));
        }
        host.exit = unwitnessed(ref);
      }
      return report_of(host, host.exit);
  }
}

VirtualEngine::Host* VirtualEngine::running(const ContainerRef& container) {
  const auto found = hosts_.find(container.id);
  if (found == hosts_.end() || found->second.run != container.run) return nullptr;
  return found->second.phase == Host::Phase::running ? &found->second : nullptr;
}

void VirtualEngine::end_leftover(Host& host) {
  host.phase = Host::Phase::none;
  host.frozen = false;
  host.held = false;
  host.run = 0;
  host.life = ++last_life_;
}

void VirtualEngine::clean_leftovers() {
  for (auto& [id, host] : hosts_) {
    if (host.asked) continue;
    if (is_alive(host)) {
      if (!host.record_lost) complain_("a process of " + id.substr(0, 6) + " was forgotten");
      end_leftover(host);
    }
    host.held = false;
  }
}

Status VirtualEngine::signal(const ContainerRef& container, int signal) {
  Host* host = running(container);
  if (host == nullptr) return fail(Errc::not_found, "cannot signal: no such process");
  if (world_.signal_fails(*host)) return fail(Errc::denied, "cannot signal");
  if (signal != 15 || host->signalled) return {};
  host->signalled = true;
  if (!host->frozen) obey_stop(*host, container.id);
  return {};
}

void VirtualEngine::obey_stop(Host& host, const std::string& id) {
  if (const auto end = world_.stop(host)) end_now(id, *end);
}

void VirtualEngine::kill(const ContainerRef& container) {
  const Host* host = running(container);
  if (host == nullptr) return;
  end_now(container.id, {.after = world_.kill(*host), .code = 137, .signal = 9});
}

void VirtualEngine::pause(const ContainerRef& container) { change_frozen(container, Kind::freeze); }
void VirtualEngine::resume(const ContainerRef& container) { change_frozen(container, Kind::thaw); }

void VirtualEngine::change_frozen(const ContainerRef& container, Kind kind) {
  const Start start = world_.freeze(hosts_[container.id]);
  happen({.kind = kind, .container = container, .start = start}, start.after);
}

void VirtualEngine::remove(const std::string& id) {
  const auto found = hosts_.find(id);
  if (found == hosts_.end()) return;
  if (is_alive(found->second)) {
    complain_("container " + id.substr(0, 6) + " was removed under a living process");
  }
  hosts_.erase(found);
}

// ---- probes and hooks

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
                                                 .entered = {},
                                                 .started = {},
                                                 .kill_asked = {}};
  const Host* host = running(order.container);
  if (host == nullptr) {
    return happen_to_probe(order.id, ended_as(order.id, ProbeEnded::How::container_gone),
                           milliseconds(1));
  }
  if (host->frozen) complain_("a probe in a frozen container: " + text_of(order.container));
  ProbeFate fate = world_.probe(probe, *host, now_.mono);
  if (fate.enters_after) {
    happen_to_probe(order.id, ProbeEntered{.probe = order.id}, *fate.enters_after);
  }
  if (fate.starts_after) {
    happen_to_probe(order.id, ProbeStarted{.probe = order.id}, *fate.starts_after);
  }
  if (!fate.ends_after) return;
  fate.end.probe = order.id;
  happen_to_probe(order.id, std::move(fate.end), *fate.ends_after);
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
  happen_to_probe(id, std::move(end), after);
}

void VirtualEngine::run_hook(const HookOrder& order) {
  if (hooks_.contains(order.id)) complain_("a hook id was used twice");
  const HookFate fate = world_.hook(order);
  hooks_[order.id] = now_.mono + order.timeout + kHookEndMax;
  report(HookEnded{.hook = order.id, .code = fate.code, .error = fate.error}, fate.after);
}

// ---- deaths

void VirtualEngine::agent_died() {
  epoch_++;
  probes_.clear();
  hooks_.clear();
  for (auto& [id, host] : hosts_) {
    host.asked = false;
    host.adopted = false;
    // It takes several orders to the keeper; the rest of them is not given any more.
    if (host.phase == Host::Phase::starting && world_.start_cut_short(host)) {
      host.phase = Host::Phase::none;
    }
  }
}

// Whoever ends from now on, and whoever has ended unacknowledged, does so without a witness.
void VirtualEngine::keeper_died() {
  agent_died();
  for (auto& [id, host] : hosts_) {
    host.kept = false;
    if (host.phase == Host::Phase::starting) host.phase = Host::Phase::none;
    if (host.phase == Host::Phase::ended && host.held) host.exit = unwitnessed({id, host.run});
  }
}

void VirtualEngine::record_lost(const std::string& id) {
  const auto found = hosts_.find(id);
  if (found != hosts_.end()) found->second.record_lost = true;
}

const VirtualEngine::Host* VirtualEngine::host(const std::string& id) const {
  const auto found = hosts_.find(id);
  return found == hosts_.end() ? nullptr : &found->second;
}

}  // namespace keepwell
