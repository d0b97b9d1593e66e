// The part of cgroup.h that finds out what this host has and makes our root in it.
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "runtime/cgroup.h"
#include "runtime/cgroup_file.h"
#include "runtime/user_namespace.h"

namespace keepwell {
namespace {

struct Mount {
  std::string root, point, type, options;
};

// mountinfo writes blanks and the like as \040.
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    bool escape = text[i] == '\\' && i + 3 < text.size() &&
                  std::all_of(text.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                              text.begin() + static_cast<std::ptrdiff_t>(i) + 4,
                              [](char c) { return c >= '0' && c <= '7'; });
    if (!escape) {
      plain.push_back(text[i]);
      continue;
    }
    plain.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                      (text[i + 3] - '0')));
    i += 3;
  }
  return plain;
}

std::vector<Mount> parse_mounts(std::string_view mountinfo) {
  std::vector<Mount> mounts;
  for (std::string_view line : split(mountinfo, '\n')) {
    std::size_t separator = line.find(" - ");
    if (separator == std::string_view::npos) continue;
    std::vector<std::string_view> front = split(line.substr(0, separator), ' ');
    std::vector<std::string_view> back = split(line.substr(separator + 3), ' ');
    if (front.size() < 6 || back.size() < 3) continue;
    if (back[0] != "cgroup" && back[0] != "cgroup2") continue;
    mounts.push_back(
        {unescape(front[3]), unescape(front[4]), std::string(back[0]), std::string(back[2])});
  }
  return mounts;
}

bool has_controllers(const Mount& mount, std::string_view controllers) {
  std::vector<std::string_view> options = split(mount.options, ',');
  std::vector<std::string_view> wanted = split(controllers, ',');
  return !wanted.empty() && std::all_of(wanted.begin(), wanted.end(), [&](std::string_view each) {
    return std::find(options.begin(), options.end(), each) != options.end();
  });
}

// A path of /proc/PID/cgroup as seen below a mount that shows only ROOT and what is under it.
std::string below_mount(const Mount& mount, std::string_view path) {
  if (mount.root != "/" && path.substr(0, mount.root.size()) == mount.root) {
    path.remove_prefix(mount.root.size());
  }
  return path.empty() ? "/" : std::string(path);
}

struct Membership {
  std::string_view controllers, path;
};

std::vector<Membership> parse_memberships(std::string_view text) {
  std::vector<Membership> all;
  for (std::string_view line : split(text, '\n')) {
    std::size_t first = line.find(':');
    std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    all.push_back({line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  return all;
}

std::string join_path(const std::string& a, std::string_view b) {
  if (a.empty() || a == "/") return std::string(b);
  return b == "/" ? a : a + std::string(b);
}

std::string hash_name(const std::string& run_dir) {
  std::uint32_t hash = 2166136261u;  // FNV-1a
  for (char c : run_dir) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  char name[32];
  std::snprintf(name, sizeof(name), "/keepwell-%08x", hash);
  return name;
}

// systemd marks what it has handed over.
bool delegated(const std::string& directory) {
  for (const char* name : {"trusted.delegate", "user.delegate"}) {
    char value = 0;
    if (::getxattr(directory.c_str(), name, &value, 1) == 1 && value == '1') return true;
  }
  return false;
}

std::string default_parent(const CgroupLayout& layout) {
  const std::string& own = layout.unified_own_path;
  if (layout.kind == CgroupKind::v1 || own.empty() || own == "/") return "";
  if (::geteuid() != 0 || in_own_user_namespace()) return own;
  return layout.kind == CgroupKind::v2 && delegated(layout.unified_mount + own) ? own : "";
}

// Each by itself: one that is missing must not hinder the others.
void enable_controllers(const std::string& directory) {
  for (const char* controller : {"+cpu", "+memory", "+pids", "+io", "+cpuset"}) {
    (void)write_small_file(directory + "/cgroup.subtree_control", controller);
  }
}

}  // namespace

const CgroupV1Mount* CgroupLayout::find_v1(std::string_view controller) const {
  for (const CgroupV1Mount& mount : v1) {
    std::vector<std::string_view> names = split(mount.controllers, ',');
    if (std::find(names.begin(), names.end(), controller) != names.end()) return &mount;
  }
  return nullptr;
}

CgroupLayout parse_cgroup_layout(std::string_view mountinfo, std::string_view self_cgroup) {
  CgroupLayout layout;
  std::vector<Mount> mounts = parse_mounts(mountinfo);
  for (const Membership& membership : parse_memberships(self_cgroup)) {
    bool unified = membership.controllers.empty();
    auto mount = std::find_if(mounts.begin(), mounts.end(), [&](const Mount& each) {
      return unified ? each.type == "cgroup2"
                     : each.type == "cgroup" && has_controllers(each, membership.controllers);
    });
    if (mount == mounts.end()) continue;
    std::string own = below_mount(*mount, membership.path);
    if (unified) {
      layout.unified_mount = mount->point;
      layout.unified_own_path = own;
    } else {
      layout.v1.push_back({std::string(membership.controllers), mount->point, own});
    }
  }
  bool v2 = !layout.unified_mount.empty();
  if (v2) layout.kind = layout.v1.empty() ? CgroupKind::v2 : CgroupKind::hybrid;
  if (!v2 && !layout.v1.empty()) layout.kind = CgroupKind::v1;
  return layout;
}

Result<CgroupLayout> detect_cgroup_layout() {
  Result<std::string> mountinfo = read_small_file("/proc/self/mountinfo");
  if (!mountinfo) return fail(mountinfo.error());
  Result<std::string> memberships = read_small_file("/proc/self/cgroup");
  if (!memberships) return fail(memberships.error());
  return parse_cgroup_layout(*mountinfo, *memberships);
}

std::string describe(const CgroupLayout& layout) {
  switch (layout.kind) {
    case CgroupKind::v2:
      return "cgroup v2 at " + layout.unified_mount + ": limits, and probes are killed whole";
    case CgroupKind::hybrid:
      return "hybrid cgroups: limits by v1, and probes are killed whole through the v2 tree at " +
             layout.unified_mount;
    case CgroupKind::v1:
      return "cgroup v1 only: limits work; probes are killed by freezing and walking their cgroup, "
             "since there is no cgroup.kill";
    case CgroupKind::none:
      break;
  }
  return "no cgroups: no limits, and of a probe only its session is killed";
}

namespace {

// Below MOUNT, what is missing of PATH and PATH itself.
Status make_directories(const std::string& mount, std::string_view path) {
  for (std::size_t at = path.find('/', 1); at != std::string_view::npos;
       at = path.find('/', at + 1)) {
    if (Status made = make_directory(mount + std::string(path.substr(0, at))); !made) return made;
  }
  return make_directory(mount + std::string(path));
}

}  // namespace

Result<CgroupRoot> open_cgroup_root(CgroupLayout layout, const std::string& run_dir,
                                    const std::string& parent) {
  CgroupRoot root;
  std::string above = parent.empty() ? default_parent(layout) : parent;
  if (above == "/") above.clear();
  root.path = above + hash_name(run_dir);
  root.layout = std::move(layout);
  const CgroupLayout& host = root.layout;
  if (host.kind == CgroupKind::none) {
    return fail(Errc::unsupported, "cannot make cgroups: no cgroup file system is mounted");
  }
  if (!host.unified_mount.empty()) {
    std::string directory = host.unified_mount + root.path;
    if (Status made = make_directories(host.unified_mount, root.path); !made) {
      return fail(made.error());
    }
    if (host.kind == CgroupKind::v2) enable_controllers(host.unified_mount + above);
    if (host.kind == CgroupKind::v2) enable_controllers(directory);
    if (Result<std::string> enabled = read_small_file(directory + "/cgroup.subtree_control")) {
      while (!enabled->empty() && enabled->back() == '\n') enabled->pop_back();
      root.controllers = *enabled;
    }
  }
  for (const char* controller : {"pids", "memory", "freezer", "cpu"}) {
    const CgroupV1Mount* mount = host.find_v1(controller);
    if (mount == nullptr) continue;
    Status made = make_directories(mount->mount, root.path);
    if (!made && host.kind == CgroupKind::v1) return fail(made.error());
  }
  return root;
}

void remove_cgroup_root(const CgroupRoot& root) {
  if (!root.layout.unified_mount.empty()) {
    (void)remove_directory(root.layout.unified_mount + root.path);
  }
  for (const CgroupV1Mount& mount : root.layout.v1) {
    (void)remove_directory(mount.mount + root.path);
  }
}

std::string payload_path(const CgroupRoot& root, std::string_view id) {
  return root.path + "/" + std::string(id) + "/payload";
}

std::vector<std::string> differing_cgroup_dirs(const CgroupLayout& layout,
                                               std::string_view target_cgroup) {
  std::vector<std::string> directories;
  for (const Membership& membership : parse_memberships(target_cgroup)) {
    if (membership.controllers.empty()) {
      if (layout.unified_mount.empty() || membership.path == layout.unified_own_path) continue;
      directories.insert(directories.begin(), join_path(layout.unified_mount, membership.path));
      continue;
    }
    for (const CgroupV1Mount& mount : layout.v1) {
      if (mount.controllers != membership.controllers || membership.path == mount.own_path)
        continue;
      directories.push_back(join_path(mount.mount, membership.path));
    }
  }
  return directories;
}

}  // namespace keepwell
