// What happens to the services of a simulation, as a text that people write: one line for each
// thing, with the time at which it begins to be so.
//
//   # time   who              what
//   10s      web              fails              its checks fail with 1 (fails 3: with 3)
//   10s      web/ready        hangs              this check times out
//   1m       web              passes
//   90s      db               exits 1            or: exits oom, crashes (139)
//   2m       db               start-fails 127    every start from now on; starts: no more
//   2m       web              stop-takes 30s     to obey its stop signal; ignores-stop
//   3m       host             pressure cpu 80%   memory, io; 0% ends it
//   3m       web              hold 15m deploy    release; stop, start, restart, pause, unpause
//   4m       web              debugger on        off
//   10m      end                                 of the simulation
//
// Until something is said, starts take 100 ms, probes pass in 5 ms, and a stop is obeyed in 100 ms.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "agent/simulation/simulation.h"
#include "config/result.h"

namespace keepwell {

struct ScriptLine {
  int number = 0;
  Duration at{0};
  std::string service;             // "host", or a service of the project; empty for `end`
  std::string check;               // empty: all
  std::vector<std::string> words;  // what, and its arguments
};

// Errc::invalid, naming the line, for what is no such line or names a service or a check that
// PROJECT has not.
Result<std::vector<ScriptLine>> parse_script(std::string_view text, const ProjectSpec& project);

// The world that a script makes. Outlives the simulation that it is given to.
class ScriptedWorld {
 public:
  VirtualEngine::World world();

  // Plans every line in SIMULATION, which began at BEGIN.
  void plan(Simulation& simulation, const std::vector<ScriptLine>& lines, WallTime begin);

  // The end that the script names; none: it names no end.
  static std::optional<Duration> end_of(const std::vector<ScriptLine>& lines);

 private:
  struct Check {
    enum class Kind { passes, fails, hangs, starting } kind = Kind::passes;
    int code = 1;
  };
  struct Service {
    std::map<std::string, Check> checks;  // "" is for all that are not named
    int start_fails = 0;
    Duration stop_takes = std::chrono::milliseconds(100);
    bool ignores_stop = false;
    bool debugger = false;
  };
  void act(Simulation& simulation, const ScriptLine& line);
  void set(const ScriptLine& line);
  const Check& check_of(const std::string& service, const std::string& check);

  std::map<std::string, Service> services_;
  std::map<std::string, double> pressure_;
};

}  // namespace keepwell
