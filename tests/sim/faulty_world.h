// The world of the simulator: what becomes of each order is drawn from a seed, and goes wrong as
// often as Faults says.
#pragma once

#include <map>
#include <string>

#include "agent/simulation/virtual_engine.h"
#include "tests/sim/faults.h"

namespace keepwell {

class FaultyWorld {
 public:
  FaultyWorld(std::uint64_t seed, const Faults& faults) : random_(seed), faults_(faults) {}

  // Of this object, which must outlive its engine.
  VirtualEngine::World world();

  // Nothing goes wrong from now on, and who was sick is well. A job still ends by itself.
  void heal();

 private:
  using Host = VirtualEngine::Host;
  using Probe = VirtualEngine::Probe;
  struct Sickness {
    Instant from{};
    bool hangs = false;  // its probes do; else they fail
  };
  std::optional<VirtualEngine::End> life(const Host& host);
  std::optional<VirtualEngine::End> stop();
  VirtualEngine::ProbeFate probe(const Probe& probe, const Host& host, Instant now);
  Duration probe_dies(const Probe& probe, ProbeEnded& end);
  VirtualEngine::HookFate hook(const HookOrder& order);
  Duration kill();

  Random random_;
  Faults faults_;
  std::map<std::uint64_t, Sickness> sick_;  // by life
  bool healed_ = false;
};

}  // namespace keepwell
