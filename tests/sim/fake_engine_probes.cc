// The probes and hooks of the FakeEngine: how long they take, and what becomes of them.
#include <algorithm>
#include <utility>

#include "tests/sim/fake_engine.h"

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

}  // namespace

void FakeEngine::start_probe(const ProbeOrder& order) {
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
    return end_probe_at(order.id, milliseconds(1),
                        ended_as(order.id, ProbeEnded::How::container_gone));
  }
  if (host->frozen) complain_("a probe in a frozen container: " + text_of(order.container));
  plan_probe(order.id, probe, *host);
}

void FakeEngine::plan_probe(ProbeId id, const Probe& probe, const Host& host) {
  ProbeEnded end;
  end.probe = id;
  // Who reads it can tell which run it came from.
  end.output = "run " + std::to_string(host.run);
  end.output_bytes = end.output.size();
  const Duration start = random_.between(milliseconds(1), milliseconds(30));
  if (random_.chance(faults_.our_fault)) {
    end.how = ProbeEnded::How::our_fault;
    return end_probe_at(id, start, std::move(end));
  }
  if (random_.chance(faults_.probe_cannot_start)) {
    end.how = ProbeEnded::How::start_failed;
    end.code = 127;
    end.error = end.output;
    return end_probe_at(id, start, std::move(end));
  }
  if (random_.chance(faults_.probe_orphans)) {
    end.orphans = static_cast<std::uint64_t>(random_.between(1, 3));
  }
  if (random_.chance(faults_.probe_never_starts)) return;
  const bool stopped = random_.chance(faults_.probe_stopped);
  if (stopped || random_.chance(0.3)) {
    Happening enters;
    enters.kind = Kind::probe_enters;
    enters.probe = id;
    happen(std::move(enters), start / 2);
  }
  if (stopped) return;
  Happening starts;
  starts.kind = Kind::probe_starts;
  starts.probe = id;
  happen(std::move(starts), start);
  const bool sick = host.sick_from && *host.sick_from <= now_.mono;
  if ((sick && host.sick_hangs) || random_.chance(faults_.probe_hangs)) return;
  if (sick || random_.chance(faults_.probe_fails)) end.code = 1;
  if (random_.chance(faults_.probe_says_starting)) end.code = 2;
  const Duration most = std::max<Duration>(milliseconds(20), probe.check->timeout * 3 / 4);
  const Duration length = random_.chance(0.1) ? random_.between(Duration{0}, most)
                                              : random_.between(Duration{0}, milliseconds(15));
  end_probe_at(id, start + length + milliseconds(3), std::move(end));
}

void FakeEngine::end_probe_at(ProbeId id, Duration after, ProbeEnded end) {
  Happening ends;
  ends.kind = Kind::probe_ends;
  ends.probe = id;
  ends.end = std::move(end);
  happen(std::move(ends), after);
}

void FakeEngine::kill_probe(ProbeId id) {
  const auto found = probes_.find(id);
  if (found == probes_.end()) return;
  Probe& probe = found->second;
  if (probe.kill_asked) return;
  probe.kill_asked = now_.mono;
  ProbeEnded end = ended_as(id, ProbeEnded::How::killed);
  end.code = 137;
  end.output = "run " + std::to_string(probe.container.run);
  end.output_bytes = end.output.size();
  if (probe.started && random_.chance(faults_.probe_ends_as_killed)) {
    end.how = ProbeEnded::How::exited;
    end.code = random_.between(0, 1);
  }
  end_probe_at(id,
               random_.chance(faults_.slow_kill) ? random_.between(seconds(1), seconds(25))
                                                 : random_.between(Duration{0}, milliseconds(20)),
               std::move(end));
}

// ---- hooks

void FakeEngine::run_hook(const HookOrder& order) {
  if (hooks_.contains(order.id)) complain_("a hook id was used twice");
  HookEnded ended{.hook = order.id, .code = 0, .error = {}};
  Duration length = random_.between(milliseconds(1), milliseconds(500));
  if (random_.chance(faults_.hook_fails)) {
    ended.code = random_.chance(0.5) ? 1 : 127;
    ended.error = "it exited with 1";
  }
  if (random_.chance(faults_.hook_hangs)) {
    length = order.timeout;
    ended.code = 137;
    ended.error = "it took too long and was killed";
  }
  hooks_[order.id] = now_.mono + order.timeout + seconds(5);
  Happening report;
  report.kind = Kind::report;
  report.event.emplace_back(std::move(ended));
  happen(std::move(report), length);
}

}  // namespace keepwell
