// Cgroups: where they are on this host, and the ones that are ours.
//
//   <root>/<id>/            the service's limits; no process directly in it (v2)
//   <root>/<id>/payload/    cgroupsPath of the runtime; exec sessions join it too
//   <root>/<id>/<leaf>/     one per running probe ("probe-1"), killed whole
//
// Three kinds of host. v2: one tree, everything there. hybrid: the same names exist in the v2 tree
// (which has cgroup.kill, cgroup.freeze, cgroup.events and pressure even without controllers) and
// in every v1 hierarchy, which hold the limits. v1 only: no v2 tree at all; killing is then a walk
// under the freezer. The path strings are the same in every hierarchy.
//
// Every function makes a few system calls and returns; none waits. What cannot happen at once (an
// rmdir while the last process is dying) is reported as such and tried again by the caller.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "config/spec.h"
#include "config/time.h"
#include "runtime/unique_fd.h"

namespace keepwell {

// ---- the host

struct CgroupV1Mount {
  std::string controllers;  // "cpu,cpuacct", "name=systemd"
  std::string mount;        // /sys/fs/cgroup/cpu
  std::string own_path;     // of this process in it
};

enum class CgroupKind { none, v1, hybrid, v2 };

struct CgroupLayout {
  CgroupKind kind = CgroupKind::none;
  std::string unified_mount;     // empty: no v2 tree
  std::string unified_own_path;  // of this process
  std::vector<CgroupV1Mount> v1;

  // The mount of one v1 controller, null where it is not a v1 one.
  const CgroupV1Mount* find_v1(std::string_view controller) const;
};

// Pure: from /proc/self/mountinfo and /proc/self/cgroup.
CgroupLayout parse_cgroup_layout(std::string_view mountinfo, std::string_view self_cgroup);
Result<CgroupLayout> detect_cgroup_layout();

// What `doctor` says about it, one sentence: what works here and what the fallback is.
std::string describe(const CgroupLayout& layout);

// ---- ours

struct CgroupLimits {  // none: not set
  std::optional<std::int64_t> pids{};
  std::optional<std::int64_t> memory_bytes{};
  std::optional<double> cpus{};
  std::optional<std::int64_t> memory_reservation_bytes{};
  std::optional<std::int64_t> cpu_shares{};
  std::string cpuset{};  // empty: not set
};

// Those of the service as a whole.
CgroupLimits container_limits(const ServiceSpec& spec);

// The root of one keepwell ("/keepwell-1a2b3c4d"), in all hierarchies that we may write to.
struct CgroupRoot {
  CgroupLayout layout;
  std::string path;         // the same string below every mount; what cgroupsPath starts with
  std::string controllers;  // v2 ones that limits can be set with, space separated
};

// Makes the root for RUN_DIR (its name is a hash of it, so that two agents never meet). PARENT is
// the cgroup to put it under; empty: the top of the tree for root, our own cgroup where that was
// delegated to us or we are not root. Existing ones are taken over. Fails only where no cgroup
// could be made at all: services then run without, see CgroupKind::none.
Result<CgroupRoot> open_cgroup_root(CgroupLayout layout, const std::string& run_dir,
                                    const std::string& parent = {});

// Removes the root where it is empty; for a clean stop. Best effort.
void remove_cgroup_root(const CgroupRoot& root);

// Whether limits of CONTROLLER can be set below ROOT, in whichever tree has it.
bool can_limit(const CgroupRoot& root, std::string_view controller);

// linux.cgroupsPath for container ID.
std::string payload_path(const CgroupRoot& root, std::string_view id);

// Makes <root>/<id>/ with LIMITS (the cpuset only where it is a v2 controller: v1's is set by the
// runtime on payload/), and on hybrid hosts the unified payload leaf (which runtimes do
// not make there). Existing ones are taken over and their limits set again; a limit of none is then
// lifted. State after a failure: what was made stays, remove_container_cgroup() removes it.
Status create_container_cgroup(const CgroupRoot& root, std::string_view id,
                               const CgroupLimits& limits);

// Files (see CgroupLeaf::join_fds) that the process `runc create` must be put into by its plan, so
// that the container's init inherits them: on hybrid hosts the unified payload leaf; elsewhere
// none.
Result<std::vector<UniqueFd>> open_create_cgroups(const CgroupRoot& root, std::string_view id);

// The same of the container whose init is PID, as its /proc/PID/cgroup says: for exec
// sessions, which live where the payload does. Skips hierarchies in which the keeper (that is, we)
// is in the same cgroup anyway. Keep them for the container's life; they are not many.
Result<std::vector<UniqueFd>> open_payload_cgroups(const CgroupLayout& layout, int init_pid);

// Pure part of that: hierarchy mount + path pairs, from the text of both files.
std::vector<std::string> differing_cgroup_dirs(const CgroupLayout& layout,
                                               std::string_view target_cgroup);

// ---- a leaf: the cgroup of one probe, or of one host process service

// Kept open and used again for the next probe of the same check: nothing is made or removed while
// probes behave. One that was left with zombies or with something unkillable is abandoned, and
// removed later.
class CgroupLeaf {
 public:
  enum class Use {
    probe,   // in what LIMITS need; else where the payload is
    service  // the payload itself: also in what measures it
  };

  // Makes <root>/<id>/NAME with LIMITS and opens its files. On hybrid hosts: the v2 leaf, and a
  // child in each v1 hierarchy that LIMITS or USE need. An existing one is taken over (and what is
  // in it killed). REQUIRES: <root>/<id> exists. Failure leaves nothing behind.
  static Result<CgroupLeaf> create(const CgroupRoot& root, std::string_view id,
                                   std::string_view name, const CgroupLimits& limits,
                                   Use use = Use::probe);

  // What a single-threaded process writes "0" to: ExecFds::cgroup_procs, leaf first. PAYLOAD are
  // the container's own (of open_payload_cgroups); those whose hierarchy the leaf covers are left
  // out. Borrowed.
  std::vector<int> join_fds(const std::vector<UniqueFd>& payload) const;

  // SIGKILL for everything inside, frozen or not. v2: cgroup.kill (or a walk where the kernel has
  // none). v1 only: freeze, walk, thaw.
  Status kill() const;
  // It was, or may have been before it was taken over. Since Linux 6.14 what is cloned into such a
  // cgroup (CLONE_INTO_CGROUP) is killed too.
  bool was_killed() const { return was_killed_; }

  struct Inside {
    bool populated = false;    // live processes
    std::int64_t zombies = 0;  // dead ones that nobody reaps (known only with a pids controller)
  };
  Result<Inside> inside() const;

  // Readable by POLLPRI when `populated` may have changed; -1 where there is no v2 tree. Borrowed.
  int events_fd() const { return events_.get(); }

  // CPU used inside since the leaf was made; 0 where unknown.
  Duration cpu() const;

  // true: removed (or was not there). false: still busy, try again. After true the object is empty.
  Result<bool> try_remove();

  const std::string& path() const { return path_; }
  // Its directory in the v2 tree, opened anew (O_PATH). Fails where there is no such tree.
  Result<UniqueFd> open_unified() const;

 private:
  CgroupLeaf() = default;
  void open_files(const CgroupRoot& root);

  struct Dir {
    std::string path;  // absolute
    UniqueFd procs;
  };
  std::string path_;       // below every mount
  std::vector<Dir> dirs_;  // v2 first
  bool unified_ = false;
  UniqueFd kill_;        // cgroup.kill
  UniqueFd events_;      // cgroup.events
  UniqueFd pids_;        // pids.current
  UniqueFd cpu_;         // cpu.stat
  std::string freezer_;  // v1 only hosts
  mutable bool was_killed_ = false;
};

// ---- the whole container

// SIGKILL for everything below <root>/<id>, probes and sessions too.
Status kill_container_cgroup(const CgroupRoot& root, std::string_view id);

// Freezes or thaws payload/ only. The state is reached a little later: see frozen().
Status freeze_container(const CgroupRoot& root, std::string_view id, bool frozen);
Result<bool> container_frozen(const CgroupRoot& root, std::string_view id);

// Whether somebody else keeps payload/ from running: through the v2 tree, or through the v1
// freezer, under which nothing can even be killed. false where that cannot be told.
bool frozen_from_outside(const CgroupRoot& root, std::string_view id);

// Removes <root>/<id> with all leaves, in all hierarchies. true: gone; false: still busy.
Result<bool> try_remove_container_cgroup(const CgroupRoot& root, std::string_view id);

// The ids that have a cgroup below ROOT: what an earlier keepwell may have left running.
std::vector<std::string> list_container_cgroups(const CgroupRoot& root);

// Pids in payload/ (recursively), for adopting and for `top`.
Result<std::vector<int>> container_pids(const CgroupRoot& root, std::string_view id);

struct Pressure {  // "some" averages over 10 s and total stall
  double avg10 = 0;
  Duration total{0};
};

struct CgroupStats {  // 0 or none where the host does not say
  Duration cpu{0}, cpu_user{0}, cpu_system{0};
  Duration cpu_throttled{0};
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_inactive_file_bytes = 0;
  std::optional<std::uint64_t> memory_limit_bytes;  // none: unlimited
  std::uint64_t pids = 0;
  std::optional<std::uint64_t> pids_limit;
  std::uint64_t oom_kills = 0;
  std::uint64_t io_read_bytes = 0, io_write_bytes = 0;
  std::optional<Pressure> cpu_pressure, memory_pressure, io_pressure;
};

// Of <root>/<id>, that is payload, sessions and probes together. Some 10 small reads.
Result<CgroupStats> read_cgroup_stats(const CgroupRoot& root, std::string_view id);

// oom_kill count alone: one small read, for the exit path.
std::uint64_t read_oom_kills(const CgroupRoot& root, std::string_view id);

}  // namespace keepwell
