#include "runtime/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "runtime/cgroup_file.h"

namespace keepwell {
namespace {

std::string container_path(const CgroupRoot& root, std::string_view id) {
  return root.path + "/" + std::string(id);
}

bool has_unified(const CgroupRoot& root) { return !root.layout.unified_mount.empty(); }

std::string unified_dir(const CgroupRoot& root, const std::string& path) {
  return root.layout.unified_mount + path;
}

std::string v1_dir(const CgroupRoot& root, std::string_view controller, const std::string& path) {
  const CgroupV1Mount* mount = root.layout.find_v1(controller);
  return mount == nullptr ? std::string() : mount->mount + path;
}

bool controller_enabled(const CgroupRoot& root, std::string_view name) {
  std::vector<std::string_view> enabled = split(root.controllers, ' ');
  return std::find(enabled.begin(), enabled.end(), name) != enabled.end();
}

// A limit is one file with one text in whichever tree has the controller.
struct LimitFile {
  const char* controller;
  const char* v2_name;
  const char* v1_name;
  std::string v2_text, v1_text;
  bool wanted;           // false: lifts a limit that may be there
  bool anywhere = true;  // false: no failure where the group is not in that hierarchy
};

// The v2 weight (1 to 10000) that stands for v1 shares (2 to 262144), as runc computes it.
std::int64_t weight_of(std::int64_t shares) { return 1 + ((shares - 2) * 9999) / 262142; }

std::vector<LimitFile> limit_files(const CgroupLimits& limits) {
  std::string pids = limits.pids ? std::to_string(*limits.pids) : "max";
  std::string memory = limits.memory_bytes ? std::to_string(*limits.memory_bytes) : "max";
  constexpr double kPeriod = 100000;  // microseconds, the kernel's default
  std::string quota =
      limits.cpus ? std::to_string(std::llround(std::max(*limits.cpus, 0.01) * kPeriod)) : "max";
  std::string low =
      limits.memory_reservation_bytes ? std::to_string(*limits.memory_reservation_bytes) : "";
  std::string shares = limits.cpu_shares ? std::to_string(*limits.cpu_shares) : "1024";
  std::string weight = limits.cpu_shares ? std::to_string(weight_of(*limits.cpu_shares)) : "100";
  std::string cpuset = limits.cpuset + "\n";
  return {{"pids", "pids.max", "pids.max", pids, pids, limits.pids.has_value()},
          {"memory", "memory.max", "memory.limit_in_bytes", memory,
           limits.memory_bytes ? memory : "-1", limits.memory_bytes.has_value()},
          {"cpu", "cpu.max", "cpu.cfs_quota_us", quota + " 100000", limits.cpus ? quota : "-1",
           limits.cpus.has_value()},
          {"memory", "memory.low", "memory.soft_limit_in_bytes", low.empty() ? "0" : low,
           low.empty() ? "-1" : low, !low.empty()},
          {"cpu", "cpu.weight", "cpu.shares", weight, shares, limits.cpu_shares.has_value()},
          {"cpuset", "cpuset.cpus", "cpuset.cpus", cpuset, cpuset, !limits.cpuset.empty(), false}};
}

Status apply_limits(const CgroupRoot& root, const std::string& path, const CgroupLimits& limits) {
  for (const LimitFile& limit : limit_files(limits)) {
    std::string file;
    std::string text;
    if (std::string v1 = v1_dir(root, limit.controller, path); !v1.empty()) {
      file = v1 + "/" + limit.v1_name;
      text = limit.v1_text;
    } else if (controller_enabled(root, limit.controller)) {
      file = unified_dir(root, path) + "/" + limit.v2_name;
      text = limit.v2_text;
    }
    if (file.empty()) {
      if (!limit.wanted) continue;
      return fail(Errc::unsupported, std::string("cannot set ") + limit.v2_name + " of " + path +
                                         ": the " + limit.controller +
                                         " controller is not available to us");
    }
    bool optional = !limit.wanted || !limit.anywhere;
    if (optional && ::access(file.c_str(), W_OK) != 0) continue;
    if (Status written = write_small_file(file, text); !written && limit.wanted) return written;
  }
  return {};
}

// What keepwell-enter, which has one thread, joins by. In a v1 hierarchy `tasks`: that moves the
// thread that writes, and so need not hold up the forks and exits of everybody else meanwhile.
Result<UniqueFd> open_procs(const std::string& directory) {
  UniqueFd tasks(::open((directory + "/tasks").c_str(), O_WRONLY | O_CLOEXEC));
  if (tasks) return tasks;
  std::string file = directory + "/cgroup.procs";
  UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return fail_errno("cannot open " + file);
  return fd;
}

// Hierarchies besides the unified one in which a leaf gets a directory of its own.
std::vector<std::string> leaf_v1_controllers(const CgroupRoot& root, const CgroupLimits& limits,
                                             CgroupLeaf::Use use) {
  bool measured = use == CgroupLeaf::Use::service;
  const std::pair<const char*, bool> all[] = {
      {"pids", measured || limits.pids},
      {"memory", measured || limits.memory_bytes || limits.memory_reservation_bytes},
      {"cpu", limits.cpus || limits.cpu_shares},
      {"cpuset", !limits.cpuset.empty()},
      {"freezer", !has_unified(root)}};
  std::vector<std::string> names;
  for (const auto& [name, wanted] : all) {
    if (wanted && root.layout.find_v1(name) != nullptr) names.emplace_back(name);
  }
  return names;
}

// A v1 cpuset takes no process before it has CPUs and memory nodes; each level gets its parent's.
Status make_v1_cpuset(const CgroupRoot& root, const std::string& path) {
  std::string directory = root.layout.find_v1("cpuset")->mount;
  for (std::string_view part : split(path, '/')) {
    std::string parent = directory;
    directory += "/" + std::string(part);
    if (Status made = make_directory(directory); !made) return made;
    for (const char* name : {"/cpuset.cpus", "/cpuset.mems"}) {
      Result<std::string> own = read_small_file(directory + name);
      if (!own) return fail(own.error());
      if (own->size() > 1) continue;
      Result<std::string> theirs = read_small_file(parent + name);
      if (!theirs) return fail(theirs.error());
      if (Status set = write_small_file(directory + name, *theirs); !set) return set;
    }
  }
  return {};
}

Status set_v1_freezer(const std::string& directory, bool frozen) {
  return write_small_file(directory + "/freezer.state", frozen ? "FROZEN" : "THAWED");
}

// The v1 way to kill everything: nothing can fork while it is frozen, and dies once thawed.
void kill_frozen(const std::string& freezer_directory) {
  (void)set_v1_freezer(freezer_directory, true);
  kill_walk(freezer_directory);
  (void)set_v1_freezer(freezer_directory, false);
  kill_walk(freezer_directory);
}

std::uint64_t device_of(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 ? info.st_dev : 0;
}

// The tree in which everything of a container is found.
std::string whole_dir(const CgroupRoot& root, const std::string& path) {
  if (has_unified(root)) return unified_dir(root, path);
  std::string freezer = v1_dir(root, "freezer", path);
  return freezer.empty() ? v1_dir(root, "pids", path) : freezer;
}

}  // namespace

CgroupLimits container_limits(const ServiceSpec& spec) {
  CgroupLimits limits;
  if (spec.pids_limit > 0) limits.pids = spec.pids_limit;
  if (spec.memory_bytes > 0) limits.memory_bytes = spec.memory_bytes;
  if (spec.memory_reservation_bytes > 0)
    limits.memory_reservation_bytes = spec.memory_reservation_bytes;
  if (spec.cpus > 0) limits.cpus = spec.cpus;
  if (spec.cpu_shares > 0) limits.cpu_shares = spec.cpu_shares;
  limits.cpuset = spec.cpuset;
  return limits;
}

// ---- containers

Status create_container_cgroup(const CgroupRoot& root, std::string_view id,
                               const CgroupLimits& limits) {
  std::string path = container_path(root, id);
  if (has_unified(root)) {
    if (Status made = make_directory(unified_dir(root, path)); !made) return made;
    for (std::string_view controller : split(root.controllers, ' ')) {
      (void)write_small_file(unified_dir(root, path) + "/cgroup.subtree_control",
                             "+" + std::string(controller));
    }
  }
  if (root.layout.kind == CgroupKind::hybrid) {
    if (Status made = make_directory(unified_dir(root, path) + "/payload"); !made) return made;
  }
  for (const char* controller : {"pids", "memory", "cpu", "freezer"}) {
    std::string directory = v1_dir(root, controller, path);
    if (directory.empty()) continue;
    if (Status made = make_directory(directory); !made) return made;
  }
  return apply_limits(root, path, limits);
}

bool can_limit(const CgroupRoot& root, std::string_view controller) {
  return root.layout.find_v1(controller) != nullptr || controller_enabled(root, controller);
}

Result<std::vector<UniqueFd>> open_create_cgroups(const CgroupRoot& root, std::string_view id) {
  std::vector<UniqueFd> fds;
  if (root.layout.kind != CgroupKind::hybrid) return fds;
  Result<UniqueFd> procs = open_procs(unified_dir(root, payload_path(root, id)));
  if (!procs) return fail(procs.error());
  fds.push_back(std::move(*procs));
  return fds;
}

Result<std::vector<UniqueFd>> open_payload_cgroups(const CgroupLayout& layout, int init_pid) {
  Result<std::string> text = read_small_file("/proc/" + std::to_string(init_pid) + "/cgroup");
  if (!text) return fail(text.error().with("cannot find the container's cgroups"));
  std::vector<UniqueFd> fds;
  for (const std::string& directory : differing_cgroup_dirs(layout, *text)) {
    Result<UniqueFd> procs = open_procs(directory);
    if (!procs) return fail(procs.error());
    fds.push_back(std::move(*procs));
  }
  return fds;
}

Status kill_container_cgroup(const CgroupRoot& root, std::string_view id) {
  std::string directory = whole_dir(root, container_path(root, id));
  if (::access(directory.c_str(), F_OK) != 0) return {};
  if (!has_unified(root)) {
    kill_frozen(directory);
    return {};
  }
  if (::access((directory + "/cgroup.kill").c_str(), W_OK) == 0) {
    return write_small_file(directory + "/cgroup.kill", "1");
  }
  kill_walk(directory);
  return {};
}

Status freeze_container(const CgroupRoot& root, std::string_view id, bool frozen) {
  std::string directory = whole_dir(root, payload_path(root, id));
  if (!has_unified(root)) return set_v1_freezer(directory, frozen);
  return write_small_file(directory + "/cgroup.freeze", frozen ? "1" : "0");
}

Result<bool> container_frozen(const CgroupRoot& root, std::string_view id) {
  std::string directory = whole_dir(root, payload_path(root, id));
  Result<std::string> text =
      read_small_file(directory + (has_unified(root) ? "/cgroup.events" : "/freezer.state"));
  if (!text) return fail(text.error());
  if (has_unified(root)) return keyed_value(*text, "frozen").value_or(0) == 1;
  return text->rfind("FROZEN", 0) == 0;
}

bool frozen_from_outside(const CgroupRoot& root, std::string_view id) {
  if (Result<bool> frozen = container_frozen(root, id); frozen && *frozen) return true;
  std::string v1 = v1_dir(root, "freezer", payload_path(root, id));
  if (v1.empty()) return false;
  Result<std::string> state = read_small_file(v1 + "/freezer.state");
  return state && !state->starts_with("THAWED");
}

Result<bool> try_remove_container_cgroup(const CgroupRoot& root, std::string_view id) {
  std::string path = container_path(root, id);
  bool all = true;
  std::vector<std::string> directories;
  if (has_unified(root)) directories.push_back(unified_dir(root, path));
  for (const CgroupV1Mount& mount : root.layout.v1) directories.push_back(mount.mount + path);
  for (const std::string& directory : directories) {
    Result<bool> removed = remove_tree(directory);
    if (!removed) return removed;
    all = all && *removed;
  }
  return all;
}

std::vector<std::string> list_container_cgroups(const CgroupRoot& root) {
  return child_directories(whole_dir(root, root.path));
}

Result<std::vector<int>> container_pids(const CgroupRoot& root, std::string_view id) {
  std::vector<int> pids;
  collect_pids(whole_dir(root, payload_path(root, id)), pids);
  return pids;
}

// ---- a leaf

Result<CgroupLeaf> CgroupLeaf::create(const CgroupRoot& root, std::string_view id,
                                      std::string_view name, const CgroupLimits& limits, Use use) {
  CgroupLeaf leaf;
  leaf.path_ = container_path(root, id) + "/" + std::string(name);
  leaf.unified_ = has_unified(root);
  auto add = [&leaf](const std::string& directory) -> Status {
    if (Status made = make_directory(directory); !made) return made;
    leaf.dirs_.push_back({directory, UniqueFd()});
    Result<UniqueFd> procs = open_procs(directory);
    if (!procs) return fail(procs.error());
    leaf.dirs_.back().procs = std::move(*procs);
    return {};
  };
  Status ok;
  if (leaf.unified_) {
    // What an agent before this one has left was killed with it.
    Result<bool> gone = remove_directory(unified_dir(root, leaf.path_));
    leaf.was_killed_ = !gone || !*gone;
    ok = add(unified_dir(root, leaf.path_));
  }
  for (const std::string& controller : leaf_v1_controllers(root, limits, use)) {
    if (ok && controller == "cpuset") ok = make_v1_cpuset(root, leaf.path_);
    if (ok) ok = add(v1_dir(root, controller, leaf.path_));
  }
  if (ok) ok = apply_limits(root, leaf.path_, limits);
  if (!ok) {
    (void)leaf.try_remove();
    return fail(ok.error());
  }
  leaf.open_files(root);
  if (Result<Inside> inside = leaf.inside(); inside && inside->populated) (void)leaf.kill();
  return leaf;
}

void CgroupLeaf::open_files(const CgroupRoot& root) {
  auto open_in = [](const std::string& directory, const char* name, int flags) {
    return UniqueFd(::open((directory + "/" + name).c_str(), flags | O_CLOEXEC));
  };
  if (unified_) {
    kill_ = open_in(dirs_[0].path, "cgroup.kill", O_WRONLY);
    events_ = open_in(dirs_[0].path, "cgroup.events", O_RDONLY);
    pids_ = open_in(dirs_[0].path, "pids.current", O_RDONLY);
    cpu_ = open_in(dirs_[0].path, "cpu.stat", O_RDONLY);
  } else {
    freezer_ = v1_dir(root, "freezer", path_);
  }
  std::string v1_pids = v1_dir(root, "pids", path_);
  if (!v1_pids.empty()) pids_ = open_in(v1_pids, "pids.current", O_RDONLY);
}

std::vector<int> CgroupLeaf::join_fds(const std::vector<UniqueFd>& payload) const {
  std::vector<int> fds;
  std::vector<std::uint64_t> covered;
  for (const Dir& dir : dirs_) {
    fds.push_back(dir.procs.get());
    covered.push_back(device_of(dir.procs.get()));  // each hierarchy is a file system of its own
  }
  for (const UniqueFd& fd : payload) {
    bool done = std::find(covered.begin(), covered.end(), device_of(fd.get())) != covered.end();
    if (!done) fds.push_back(fd.get());
  }
  return fds;
}

Status CgroupLeaf::kill() const {
  if (dirs_.empty()) return {};
  if (!unified_) {
    if (freezer_.empty()) {
      kill_walk(dirs_[0].path);
    } else {
      kill_frozen(freezer_);
    }
    return {};
  }
  if (!kill_) {  // before Linux 5.14
    kill_walk(dirs_[0].path);
    return {};
  }
  was_killed_ = true;
  if (::write(kill_.get(), "1", 1) != 1) return fail_errno("cannot kill cgroup " + path_);
  return {};
}

Result<CgroupLeaf::Inside> CgroupLeaf::inside() const {
  Inside result;
  if (dirs_.empty()) return result;
  char text[256];
  if (unified_) {
    ssize_t got = ::pread(events_.get(), text, sizeof(text), 0);
    if (got < 0) return fail_errno("cannot look into cgroup " + path_);
    std::string_view events(text, static_cast<std::size_t>(got));
    result.populated = keyed_value(events, "populated").value_or(0) == 1;
  } else {
    std::vector<int> pids;
    collect_pids(dirs_[0].path, pids);
    result.populated = !pids.empty();
  }
  if (result.populated || !pids_) return result;
  ssize_t got = ::pread(pids_.get(), text, sizeof(text) - 1, 0);
  if (got > 0) {
    text[got] = '\0';
    result.zombies = std::atoll(text);
  }
  return result;
}

Result<UniqueFd> CgroupLeaf::open_unified() const {
  if (!unified_ || dirs_.empty())
    return fail(Errc::unsupported, "cannot open " + path_ + ": no v2");
  UniqueFd directory(::open(dirs_[0].path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return fail_errno("cannot open " + dirs_[0].path);
  return directory;
}

Duration CgroupLeaf::cpu() const {
  char text[512];
  ssize_t got = cpu_ ? ::pread(cpu_.get(), text, sizeof(text), 0) : -1;
  if (got < 0) return Duration{0};
  std::string_view stat(text, static_cast<std::size_t>(got));
  return std::chrono::microseconds(keyed_value(stat, "usage_usec").value_or(0));
}

Result<bool> CgroupLeaf::try_remove() {
  while (!dirs_.empty()) {
    Result<bool> removed = remove_tree(dirs_.back().path);
    if (!removed || !*removed) return removed;
    dirs_.pop_back();
  }
  kill_.reset();
  events_.reset();
  pids_.reset();
  cpu_.reset();
  return true;
}

}  // namespace keepwell
