// What can go wrong in one simulated world. Each seed first decides which of these exist at all and
// then how often they strike, so that runs differ in kind and not just in noise (swarm testing).
#pragma once

#include "tests/sim/random.h"

namespace keepwell {

struct Faults {
  // Of services: chances per start, per probe or per stop.
  double start_fails = 0;
  double exits_early = 0;  // within seconds of its start
  double exits_late = 0;   // within an hour
  double exit_is_zero = 0.3;
  double oom = 0;
  double falls_sick = 0;  // from some moment on its probes fail or hang, until it is restarted
  double ignores_stop = 0;
  double slow_stop = 0;
  double probe_fails = 0;
  double probe_hangs = 0;
  double probe_says_starting = 0;
  double probe_cannot_start = 0;
  double probe_never_starts = 0;
  double probe_stopped = 0;         // the container holds its process up before its program runs
  double probe_orphans = 0;         // zombies of the last one are found
  double probe_ends_as_killed = 0;  // it ends by itself while the kill is on its way

  double hook_fails = 0;
  double hook_hangs = 0;

  // Of the engine and the machine.
  double our_fault = 0;
  double slow_kill = 0;  // an uninterruptible sleep: longer than kKillPatience
  double pause_fails = 0;
  double signal_fails = 0;
  double late_news = 0;

  // Of the world: mean number per simulated hour.
  double agent_deaths = 0;
  double keeper_deaths = 0;
  double torn_records = 0;  // chance, per death, that the newest record of some container is lost
  double stalls = 0;
  double suspends = 0;
  double wall_steps = 0;
  double commands = 0;
  double reloads = 0;

  static Faults swarm(Random& random) {
    Faults faults;
    const auto pick = [&](double& odds, double most) {
      odds = random.chance(0.5) ? most * random.share() : 0;
    };
    pick(faults.start_fails, 0.5);
    pick(faults.exits_early, 0.7);
    pick(faults.exits_late, 0.7);
    faults.exit_is_zero = random.share();
    pick(faults.oom, 0.3);
    pick(faults.falls_sick, 0.8);
    pick(faults.ignores_stop, 0.5);
    pick(faults.slow_stop, 0.5);
    pick(faults.probe_fails, 0.4);
    pick(faults.probe_hangs, 0.3);
    pick(faults.probe_says_starting, 0.3);
    pick(faults.probe_cannot_start, 0.1);
    pick(faults.probe_never_starts, 0.05);
    pick(faults.probe_stopped, 0.05);
    pick(faults.probe_orphans, 0.3);
    pick(faults.probe_ends_as_killed, 0.5);
    pick(faults.hook_fails, 0.5);
    pick(faults.hook_hangs, 0.3);
    pick(faults.our_fault, 0.3);
    pick(faults.slow_kill, 0.2);
    pick(faults.pause_fails, 0.3);
    pick(faults.signal_fails, 0.5);
    pick(faults.late_news, 0.3);
    pick(faults.agent_deaths, 40);
    pick(faults.keeper_deaths, 10);
    pick(faults.torn_records, 0.5);
    pick(faults.stalls, 10);
    pick(faults.suspends, 10);
    pick(faults.wall_steps, 10);
    pick(faults.commands, 120);
    pick(faults.reloads, 20);
    return faults;
  }

  // Of a small world: what happens there happens often, and nothing stands still.
  static Faults small(Random& random) {
    Faults faults = swarm(random);
    faults.exits_early = 0.3 + 0.5 * random.share();
    faults.agent_deaths = faults.keeper_deaths = 0;
    faults.stalls = faults.suspends = faults.wall_steps = 0;
    faults.commands = 400 * random.share();
    faults.reloads = 200 * random.share();
    return faults;
  }
};

}  // namespace keepwell
