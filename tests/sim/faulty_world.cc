#include "tests/sim/faulty_world.h"

#include <algorithm>
#include <utility>

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

bool is_job(const VirtualEngine::Host& host) { return host.spec->name.starts_with("job"); }

// Who reads it can tell which run it came from.
void set_output(ProbeEnded& end, std::uint64_t run) {
  end.output = "run " + std::to_string(run);
  end.output_bytes = end.output.size();
}

}  // namespace

VirtualEngine::World FaultyWorld::world() {
  VirtualEngine::World world;
  world.news = [this](bool of_container) -> Duration {
    Duration late = random_.between(Duration{0}, milliseconds(2));
    if (of_container && random_.chance(faults_.late_news)) {
      late += random_.between(Duration{0}, seconds(3));
    }
    return late;
  };
  world.start = [this](const Host&) {
    VirtualEngine::Start start{.after = random_.between(milliseconds(1), milliseconds(400))};
    if (!random_.chance(faults_.start_fails)) return start;
    start.failed_with = 126 + random_.between(0, 2);
    start.text = "no such program";
    return start;
  };
  world.start_cut_short = [this](const Host&) { return random_.chance(0.5); };
  world.life = [this](const Host& host) { return life(host); };
  world.ends_after_all = [this](const Host& host) { return !healed_ || is_job(host); };
  world.signal_fails = [this](const Host&) { return random_.chance(faults_.signal_fails); };
  world.stop = [this](const Host&) { return stop(); };
  world.kill = [this](const Host&) { return kill(); };
  world.freeze = [this](const Host&) {
    VirtualEngine::Start start{.after = random_.between(milliseconds(1), milliseconds(100))};
    if (random_.chance(faults_.pause_fails)) start.text = "cannot write cgroup.freeze";
    return start;
  };
  world.probe = [this](const Probe& each, const Host& host, Instant now) {
    return probe(each, host, now);
  };
  world.probe_dies = [this](const Probe& each, const Host&, ProbeEnded& end) {
    return probe_dies(each, end);
  };
  world.hook = [this](const HookOrder& order) { return hook(order); };
  return world;
}

void FaultyWorld::heal() {
  faults_ = Faults{};
  healed_ = true;
  sick_.clear();
}

// What its program will do if nobody interferes. A job is a service named job*: it ends with 0.
std::optional<VirtualEngine::End> FaultyWorld::life(const Host& host) {
  if (random_.chance(faults_.falls_sick)) {
    sick_[host.life] = {.from = host.started + random_.between(Duration{0}, minutes(10)),
                        .hangs = random_.chance(0.5)};
  }
  VirtualEngine::End end;
  const bool early = random_.chance(faults_.exits_early);
  if (is_job(host)) {
    end.after = random_.between(milliseconds(10), seconds(20));
    if (!early) return end;
  } else if (early) {
    end.after = random_.between(Duration{0}, seconds(25));
  } else if (random_.chance(faults_.exits_late)) {
    end.after = random_.between(seconds(10), minutes(60));
  } else {
    return std::nullopt;
  }
  end.code = random_.chance(faults_.exit_is_zero) ? 0 : random_.between(1, 3);
  if (random_.chance(faults_.oom)) {
    end.code = 137;
    end.signal = 9;
    end.oom = true;
    end.oom_told = random_.chance(0.5);
  }
  return end;
}

std::optional<VirtualEngine::End> FaultyWorld::stop() {
  if (random_.chance(faults_.ignores_stop)) return std::nullopt;
  VirtualEngine::End end;
  if (random_.chance(0.5)) {
    end.code = 143;
    end.signal = 15;
  }
  end.after = random_.chance(faults_.slow_stop)
                  ? random_.between(seconds(1), seconds(15))
                  : random_.between(milliseconds(1), milliseconds(300));
  return end;
}

Duration FaultyWorld::kill() {
  return random_.chance(faults_.slow_kill) ? random_.between(seconds(1), seconds(25))
                                           : random_.between(milliseconds(1), milliseconds(20));
}

VirtualEngine::ProbeFate FaultyWorld::probe(const Probe& probe, const Host& host, Instant now) {
  VirtualEngine::ProbeFate fate;
  set_output(fate.end, host.run);
  const Duration start = random_.between(milliseconds(1), milliseconds(30));
  if (random_.chance(faults_.our_fault)) {
    fate.ends_after = start;
    fate.end.how = ProbeEnded::How::our_fault;
    return fate;
  }
  if (random_.chance(faults_.probe_cannot_start)) {
    fate.ends_after = start;
    fate.end.how = ProbeEnded::How::start_failed;
    fate.end.code = 127;
    fate.end.error = fate.end.output;
    return fate;
  }
  if (random_.chance(faults_.probe_orphans)) {
    fate.end.orphans = static_cast<std::uint64_t>(random_.between(1, 3));
  }
  if (random_.chance(faults_.probe_never_starts)) return fate;
  const bool stopped = random_.chance(faults_.probe_stopped);
  if (stopped || random_.chance(0.3)) fate.enters_after = start / 2;
  if (stopped) return fate;
  fate.starts_after = start;
  const auto found = sick_.find(host.life);
  const bool sick = found != sick_.end() && found->second.from <= now;
  if ((sick && found->second.hangs) || random_.chance(faults_.probe_hangs)) return fate;
  if (sick || random_.chance(faults_.probe_fails)) fate.end.code = 1;
  if (random_.chance(faults_.probe_says_starting)) fate.end.code = 2;
  const Duration most = std::max<Duration>(milliseconds(20), probe.check->timeout * 3 / 4);
  const Duration length = random_.chance(0.1) ? random_.between(Duration{0}, most)
                                              : random_.between(Duration{0}, milliseconds(15));
  fate.ends_after = start + length + milliseconds(3);
  return fate;
}

Duration FaultyWorld::probe_dies(const Probe& probe, ProbeEnded& end) {
  const bool killed = end.how == ProbeEnded::How::killed;
  const bool by_itself = probe.started && random_.chance(faults_.probe_ends_as_killed);
  if (by_itself) {
    end.how = ProbeEnded::How::exited;
    end.code = random_.between(0, 1);
  }
  if (killed || by_itself) set_output(end, probe.container.run);
  const bool late = random_.chance(killed ? faults_.slow_kill : faults_.late_news);
  return late ? random_.between(seconds(1), seconds(25))
              : random_.between(Duration{0}, milliseconds(killed ? 20 : 50));
}

VirtualEngine::HookFate FaultyWorld::hook(const HookOrder& order) {
  VirtualEngine::HookFate fate{.after = random_.between(milliseconds(1), milliseconds(500))};
  if (random_.chance(faults_.hook_fails)) {
    fate.code = random_.chance(0.5) ? 1 : 127;
    fate.error = "it exited with 1";
  }
  if (random_.chance(faults_.hook_hangs)) {
    fate.after = order.timeout;
    fate.code = 137;
    fate.error = "it took too long and was killed";
  }
  return fate;
}

}  // namespace keepwell
