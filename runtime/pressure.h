// Pressure stall information (PSI): for how long something waited for a processor, memory or a
// disk; of the host, and of a cgroup. Kernels without it (before 4.20, psi=0, or no v2 cgroup
// tree) simply have nothing to read.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/time.h"
#include "runtime/cgroup.h"
#include "runtime/engine.h"

namespace keepwell {

// One file of it: its line "some", or "full". None where the text has no such line.
std::optional<Pressure> parse_pressure_line(std::string_view text, std::string_view kind);

struct HostPressure {
  std::string resource;  // cpu, memory, io
  double some = 0;       // averages over 10 s, 0 to 1
  std::optional<double> full;
};
// Empty: this kernel does not tell.
std::vector<HostPressure> read_host_pressure();

// The stall times at one moment; two of them say what happened in between.
class PressureMark {
 public:
  // CGROUP: absolute directory in the v2 tree; empty: only the host.
  static PressureMark take(const std::string& cgroup, Instant now);

  // Shares of the time since this mark, for what can be read at both ends.
  std::vector<PressureReading> until(const PressureMark& later) const;

 private:
  struct Total {
    std::string resource;
    bool of_host = true;
    Duration some{0};
  };
  std::vector<Total> totals_;
  Instant at_{};
};

// <root>/<id> in the v2 tree; empty where there is none.
std::string pressure_cgroup(const CgroupRoot& root, std::string_view id);

}  // namespace keepwell
