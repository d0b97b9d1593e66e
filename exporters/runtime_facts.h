// What inspect and list show of a container beyond the Supervisor's ContainerStatus: facts that
// runtime and the API layer know. Plain values; each empty default is shown as Docker shows an
// absent one, so a caller fills what it has.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace keepwell {

struct NetworkFacts {
  std::string name;  // "bridge", "none", "host", "<project>_default"
  std::string network_id;
  std::string endpoint_id;
  std::string mac_address;
  std::string ip_address;
  int ip_prefix_len = 0;
  std::string gateway;
  std::string ipv6_address;
  int ipv6_prefix_len = 0;
  std::string ipv6_gateway;
  std::vector<std::string> aliases;
};

struct PortFacts {
  std::uint16_t container_port = 0;
  std::string protocol = "tcp";
  std::string host_ip;          // with host_port
  std::uint16_t host_port = 0;  // 0: exposed only

  bool operator==(const PortFacts&) const = default;
};

struct MountFacts {
  std::string type = "bind";  // bind, volume, tmpfs
  std::string name;           // of a volume
  std::string source;
  std::string destination;
  std::string driver;  // "local" for a volume
  std::string mode;    // "z", "ro"
  bool read_write = true;
  std::string propagation;  // "rprivate" for a bind
};

struct RuntimeFacts {
  // What the image contributed, resolved. Empty vectors: only the spec is shown.
  std::string image_id;                  // "sha256:..."; empty: none
  std::vector<std::string> argv;         // what runs; empty: spec->argv()
  std::vector<std::string> environment;  // "K=V"; empty: the spec's
  std::string user;                      // empty: the spec's
  std::string working_dir;               // empty: the spec's
  std::string hostname;                  // empty: the spec's, else the id's first 12 digits
  std::string stop_signal;               // empty: the spec's
  std::map<std::string, std::string> image_labels;  // under the service's own

  std::string log_path;
  std::string cgroup_path;
  std::string bundle_path;
  std::string resolv_conf_path, hostname_path, hosts_path;
  std::string oci_runtime;                         // "runc", "crun"; empty for process
  std::string driver;                              // "overlay2", "rootfs"; empty: not shown
  std::map<std::string, std::string> driver_data;  // LowerDir, UpperDir, MergedDir, WorkDir
  std::string apparmor_profile, process_label, mount_label;
  std::string platform = "linux";

  std::vector<std::string> exec_ids;  // created or running; empty: null
  std::vector<NetworkFacts> networks;
  std::string sandbox_key;     // network namespace file
  std::string shared_network;  // id of the container whose network it is; empty: nobody's
  std::vector<PortFacts> ports;
  std::vector<MountFacts> mounts;

  std::optional<std::uint64_t> size_rw, size_root_fs;  // shown where set

  // Of the project, for the labels by which docker compose finds its containers.
  std::string project_file;  // absolute; empty: unknown
  std::string config_hash;   // config_hash() of the service
};

}  // namespace keepwell
