// What `keepwell doctor` says: what this host can do for keepwell, what is done instead where it
// cannot, and why. It tries things for real (creates a container, mounts an overlay) in directories
// and cgroups of its own, and removes them. No agent or keeper is needed. Blocks for up to some
// seconds.
#pragma once

#include <string>
#include <vector>

namespace keepwell {

struct DoctorFinding {
  enum class Verdict {
    good,
    limited,  // keepwell does without, or another way; the text says how
    bad       // something will not work
  };
  std::string subject;  // "OCI runtime runc"
  Verdict verdict = Verdict::good;
  std::string text;
};

struct DoctorQuestion {
  std::string runtime = "auto";                // ProjectSpec::runtime
  std::string data_dir = "/var/lib/keepwell";  // where overlays would be; need not exist
};

std::vector<DoctorFinding> examine_host(const DoctorQuestion& question);

}  // namespace keepwell
