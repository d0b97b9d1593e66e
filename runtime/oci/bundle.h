// The OCI bundle of one container: config.json with the defaults of `docker run`, and the three
// files under /etc that docker binds in. Making the text is pure (bundle_config), writing it is
// not. Labels are kept out of it on purpose: some runtimes take annotations as orders, and labels
// are only data.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "config/result.h"
#include "config/spec.h"
#include "runtime/oci/volumes.h"

namespace keepwell {

// A device node that the container gets.
struct BundleDevice {
  std::string source;  // on the host; symbolic links are followed
  std::string path;    // inside
  std::string access = "rwm";
};

// What the spec alone does not say.
struct BundlePlan {
  std::string id;
  std::string rootfs;        // absolute, as the runtime finds it
  std::string etc_dir;       // holds hosts, hostname and resolv.conf; empty: nothing is bound
  std::string cgroups_path;  // empty: the runtime's own choice
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;
  std::set<std::string> host_capabilities;  // what we may give at most, with CAP_
  int own_oom_score_adj = 0;                // lower values than this need CAP_SYS_RESOURCE
  std::uint64_t nofile_hard = 0;            // our own limit; 0: leave it as it is
  bool limit_swap = false;                  // the host counts swap
  std::string seccomp_profile;              // text of the file that spec.seccomp names
  std::vector<BundleDevice> devices;        // of spec.devices, and all for privileged ones
  std::vector<BundleMount> mounts;          // of prepare_mounts()
  bool v1_memory = false;                   // the host's memory controller is the one of cgroup v1
  bool no_limits = false;    // nobody lets us make cgroups, and the runtime must not try
  std::string network_path;  // namespace to join; empty: one of its own
  std::string init;          // REQUIRED with spec.init: host path of keepwell-init
};

// The hostname inside.
std::string bundle_hostname(const ServiceSpec& spec, const std::string& id);

// The bounding set: docker's default, cap_add and cap_drop, and everything for privileged ones.
// Errc::invalid for a name that is no capability.
Result<std::set<std::string>> bundle_capabilities(const ServiceSpec& spec,
                                                  const std::set<std::string>& host);

// Names of all capabilities whose bits are set in MASK.
std::set<std::string> capability_names(std::uint64_t mask);

// The environment: PATH, HOSTNAME, TERM with a tty, and over them the service's own.
std::vector<std::string> bundle_environment(const ServiceSpec& spec, const std::string& hostname);

Result<nlohmann::json> bundle_config(const ServiceSpec& spec, const BundlePlan& plan);

// What the files under /etc say of the container's networks.
struct EtcNetwork {
  std::vector<std::string> addresses;     // of its own, for its hostname
  std::vector<std::string> name_servers;  // that know the names of its networks
  std::string host_gateway;               // empty: none
};

// Writes hosts, hostname and resolv.conf into DIR, which is made. With network_mode host they are
// the host's.
Status write_etc_files(const ServiceSpec& spec, const std::string& hostname, const std::string& dir,
                       const EtcNetwork& network = {});

}  // namespace keepwell
