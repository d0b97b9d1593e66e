#include "agent/mount_facts.h"

#include "config/spec_names.h"
#include "runtime/oci/volumes.h"

namespace keepwell {

std::vector<MountFacts> mount_facts(const ServiceSpec& spec, const std::string& name,
                                    const std::string& volumes_dir) {
  std::vector<MountFacts> all;
  for (const MountSpec& mount : spec.mounts) {
    MountFacts facts;
    facts.type = std::string(name_of(mount.kind));
    facts.destination = mount.target;
    facts.read_write = !mount.read_only;
    if (mount.kind == MountKind::bind) {
      facts.source = mount.source;
      facts.propagation = mount.propagation.empty() ? "rprivate" : mount.propagation;
    } else if (mount.kind == MountKind::volume) {
      facts.name = mount.source.empty() ? anonymous_volume_name(name, mount.target) : mount.source;
      facts.source = volumes_dir + "/" + facts.name + "/_data";
      facts.driver = "local";
    }
    all.push_back(std::move(facts));
  }
  return all;
}

}  // namespace keepwell
