// volumes and tmpfs of a service, in their short and long form.
#include <algorithm>

#include "config/bytes.h"
#include "config/draft.h"
#include "config/paths.h"

namespace keepwell {
namespace {

constexpr std::string_view kPropagations[] = {"private", "rprivate", "shared",
                                              "rshared", "slave",    "rslave"};

bool is_propagation(std::string_view word) {
  return std::find(std::begin(kPropagations), std::end(kPropagations), word) !=
         std::end(kPropagations);
}

struct MountDraft {
  MountSpec spec;
  const Node* node = nullptr;
  bool has_type = false;
  std::string source;
};

// ---- pieces that both forms share

void set_target(LoadContext& context, const Node& node, const std::string& text, MountSpec& mount) {
  if (text.empty() || text.front() != '/') {
    context.report.error(node.place, "the path " + in_quotes(text) +
                                         " of a volume inside the container is not absolute; "
                                         "write the whole path");
    return;
  }
  mount.target = absolute_path("/", text);
  if (mount.target == "/") {
    context.report.error(node.place,
                         "a volume cannot be mounted over / of the container; name a directory "
                         "below it");
    mount.target.clear();
  }
}

void set_bind_source(LoadContext& context, const Node& node, std::string text, MountSpec& mount) {
  if (text == "~" || text.rfind("~/", 0) == 0) {
    auto home = context.environment.find("HOME");
    if (home == context.environment.end()) {
      context.report.error(node.place, "the volume source " + in_quotes(text) +
                                           " needs HOME, which is not set; write the whole path");
      return;
    }
    text.replace(0, 1, home->second);
  }
  mount.source = absolute_path(context, text);
}

// KEY is one of the file's `volumes`.
void set_volume(LoadContext& context, const Node& node, const std::string& key, MountSpec& mount) {
  auto found = context.resources.volumes.find(key);
  if (found == context.resources.volumes.end()) {
    std::vector<std::string_view> names;
    for (const auto& [name, volume] : context.resources.volumes) names.push_back(name);
    std::string_view near = nearest_name(key, names);
    context.report.error(node.place,
                         "volume " + in_quotes(key) + " is not among the file's volumes; " +
                             (near.empty() ? "add it to the top-level volumes, or write ./" + key +
                                                 " for a directory beside the file"
                                           : "did you mean " + std::string(near) + "?"));
    return;
  }
  const VolumeDefinition& volume = found->second;
  mount.volume_key = key;
  mount.source = volume.name;
  mount.external = volume.external;
  mount.driver_opts = volume.driver_opts;
  if (!volume.driver_opts.empty()) mount.copy = false;
}

void read_mount_option(LoadContext& context, const Node& node, std::string_view word,
                       MountSpec& mount) {
  if (word == "ro" || word == "rw") {
    mount.read_only = word == "ro";
  } else if (word == "nocopy") {
    mount.copy = false;
  } else if (is_propagation(word) && mount.kind == MountKind::bind) {
    mount.propagation = word == "rprivate" ? "" : word;
  } else if (word == "z" || word == "Z" || word == "cached" || word == "delegated" ||
             word == "consistent") {
    context.report.warning(node.place, "volume option " + std::string(word) +
                                           " has no effect: keepwell relabels nothing, and a bind "
                                           "is always consistent; remove it");
  } else if (word != "copy") {
    constexpr std::string_view kWords[] = {"ro", "rw", "nocopy", "rslave", "rshared", "rprivate"};
    std::string_view near = nearest_name(word, kWords);
    context.report.error(node.place,
                         "volume option " + in_quotes(word) + " is not known; " +
                             (near.empty() ? "write ro, rw, nocopy or rslave"
                                           : "did you mean " + std::string(near) + "?"));
  }
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    std::size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

// ---- short form: TARGET, SOURCE:TARGET or SOURCE:TARGET:OPTIONS

void read_short_mount(LoadContext& context, const Node& node, MountSpec& mount) {
  std::vector<std::string> parts = split(node.text, ':');
  if (parts.size() > 3 || std::any_of(parts.begin(), parts.end(),
                                      [](const std::string& part) { return part.empty(); })) {
    context.report.error(node.place, "volume " + in_quotes(node.text) +
                                         " is not one; write SOURCE:PATH, SOURCE:PATH:ro or PATH");
    return;
  }
  mount.kind = MountKind::volume;
  if (parts.size() == 1) return set_target(context, node, parts[0], mount);
  const std::string& source = parts[0];
  set_target(context, node, parts[1], mount);
  if (source.front() == '/' || source.front() == '.' || source.front() == '~') {
    mount.kind = MountKind::bind;
    set_bind_source(context, node, source, mount);
  } else {
    set_volume(context, node, source, mount);
  }
  if (parts.size() < 3) return;
  for (const std::string& word : split(parts[2], ',')) {
    read_mount_option(context, node, word, mount);
  }
}

// ---- long form

void read_type(const Field& f, MountDraft& d) {
  constexpr std::string_view kElsewhere[] = {"npipe", "cluster", "image"};
  d.has_type = true;
  if (std::find(std::begin(kElsewhere), std::end(kElsewhere), f.value().text) !=
      std::end(kElsewhere)) {
    f.context.report.unsupported(f.value().place, "volume type " + f.value().text +
                                                      " is not supported; use bind, volume or "
                                                      "tmpfs");
    return;
  }
  read_enum(f.context, "volume type", f.value(), d.spec.kind);
}
void read_source(const Field& f, MountDraft& d) {
  read_text(f.context, "volume source", f.value(), d.source);
}
void read_target(const Field& f, MountDraft& d) {
  std::string text;
  if (read_text(f.context, "volume target", f.value(), text)) {
    set_target(f.context, f.value(), text, d.spec);
  }
}
void read_mount_read_only(const Field& f, MountDraft& d) {
  read_bool(f.context, "volume read_only", f.value(), d.spec.read_only);
}
void read_consistency(const Field& f, MountDraft&) {
  f.context.report.warning(f.entry.key_place,
                           "consistency has no effect, a mount is always consistent; remove it");
}

void read_mount_propagation(const Field& f, MountSpec& mount) {
  std::size_t which = 0;
  if (read_choice(f.context, "bind.propagation", f.value(), kPropagations, which)) {
    mount.propagation = kPropagations[which] == "rprivate" ? "" : kPropagations[which];
  }
}
void read_create_host_path(const Field& f, MountSpec& mount) {
  read_bool(f.context, "bind.create_host_path", f.value(), mount.create_source);
}
void read_recursive(const Field& f, MountSpec& mount) {
  constexpr std::string_view kWays[] = {"enabled", "disabled", "writable", "readonly"};
  std::size_t which = 0;
  if (read_choice(f.context, "bind.recursive", f.value(), kWays, which)) {
    mount.recursive = which == 0 ? "" : kWays[which];
  }
}
void read_selinux(const Field& f, MountSpec&) {
  f.context.report.warning(f.entry.key_place,
                           "selinux has no effect, keepwell relabels nothing; remove it");
}
void read_nocopy(const Field& f, MountSpec& mount) {
  bool nocopy = false;
  if (read_bool(f.context, "volume.nocopy", f.value(), nocopy)) mount.copy = !nocopy;
}
void read_volume_labels(const Field& f, MountSpec&) {
  f.context.report.warning(f.entry.key_place, "labels of a volume have no effect; remove them");
}
void read_tmpfs_size(const Field& f, MountSpec& mount) {
  std::int64_t bytes = 0;
  if (read_bytes(f.context, "tmpfs.size", f.value(), bytes) && bytes > 0) {
    mount.options.push_back("size=" + std::to_string(bytes));
  }
}
void read_tmpfs_mode(const Field& f, MountSpec& mount) {
  std::uint32_t mode = 0;
  if (!read_mode(f.context, "tmpfs.mode", f.value(), mode)) return;
  char text[16];
  std::snprintf(text, sizeof text, "mode=%o", mode);
  mount.options.emplace_back(text);
}

constexpr std::string_view kSubpath = "mount a volume or directory of its own";

constexpr Key<MountSpec> kBindKeys[] = {{"propagation", read_mount_propagation},
                                        {"create_host_path", read_create_host_path},
                                        {"recursive", read_recursive},
                                        {"selinux", read_selinux}};
constexpr Key<MountSpec> kVolumeKeys[] = {
    {"nocopy", read_nocopy}, {"labels", read_volume_labels}, {"subpath", nullptr, kSubpath}};
constexpr Key<MountSpec> kTmpfsKeys[] = {{"size", read_tmpfs_size}, {"mode", read_tmpfs_mode}};

void read_bind(const Field& f, MountDraft& d) {
  read_map(f.context, f.value(), "bind of a volume", kBindKeys, d.spec);
}
void read_volume(const Field& f, MountDraft& d) {
  read_map(f.context, f.value(), "volume of a volume", kVolumeKeys, d.spec);
}
void read_tmpfs_options(const Field& f, MountDraft& d) {
  read_map(f.context, f.value(), "tmpfs of a volume", kTmpfsKeys, d.spec);
}

constexpr Key<MountDraft> kMountKeys[] = {
    {"type", read_type},
    {"source", read_source},
    {"target", read_target},
    {"read_only", read_mount_read_only},
    {"consistency", read_consistency},
    {"bind", read_bind},
    {"volume", read_volume},
    {"tmpfs", read_tmpfs_options},
    {"image", nullptr, "use bind, volume or tmpfs"},
};

// An options map of another type than the mount's has no effect.
void check_long_mount(LoadContext& context, const Node& node, const MountDraft& d) {
  if (!d.has_type) {
    context.report.error(node.place, "the volume has no type; write type: bind, volume or tmpfs");
  }
  if (node.find("target") == nullptr) {
    context.report.error(node.place, "the volume has no target; write target: /PATH");
  }
  for (std::string_view kind : kMountKindNames) {
    const Node* options = node.find(kind);
    if (options != nullptr && d.has_type && kind != name_of(d.spec.kind)) {
      context.report.warning(options->place, std::string(kind) + " has no effect with type: " +
                                                 std::string(name_of(d.spec.kind)) + "; remove it");
    }
  }
}

void read_long_mount(LoadContext& context, const Node& node, MountSpec& mount) {
  MountDraft d;
  d.node = &node;
  read_map(context, node, "a volume", kMountKeys, d);
  check_long_mount(context, node, d);
  const Node* source = node.find("source");
  if (d.spec.kind == MountKind::bind) {
    if (d.source.empty()) {
      context.report.error(node.place, "the bind has no source; write source: /PATH");
    } else {
      set_bind_source(context, *source, d.source, d.spec);
    }
  } else if (!d.source.empty() && d.spec.kind == MountKind::volume) {
    set_volume(context, *source, d.source, d.spec);
  } else if (!d.source.empty()) {
    context.report.warning(source->place, "source has no effect with type: tmpfs; remove it");
  }
  if (d.spec.kind != MountKind::tmpfs) d.spec.options.clear();
  if (d.spec.kind != MountKind::bind) {
    d.spec.propagation.clear();
    d.spec.recursive.clear();
    d.spec.create_source = true;
  }
  if (d.spec.kind != MountKind::volume) d.spec.copy = true;
  mount = std::move(d.spec);
}

// ---- tmpfs: PATH or PATH:OPTIONS

void read_tmpfs_item(LoadContext& context, const Node& node, ServiceDraft& d) {
  std::string text;
  if (!read_text(context, "an item of tmpfs", node, text)) return;
  MountSpec mount;
  mount.kind = MountKind::tmpfs;
  std::size_t colon = text.find(':');
  set_target(context, node, text.substr(0, colon), mount);
  std::vector<std::string> words;
  if (colon != std::string::npos) words = split(text.substr(colon + 1), ',');
  constexpr std::string_view kFlags[] = {"exec",  "noexec", "suid",     "nosuid",     "dev",
                                         "nodev", "atime",  "noatime",  "diratime",   "nodiratime",
                                         "sync",  "async",  "relatime", "strictatime"};
  constexpr std::string_view kValues[] = {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"};
  for (const std::string& word : words) {
    std::string key = word.substr(0, word.find('='));
    bool has_value = key.size() < word.size();
    bool flag = std::find(std::begin(kFlags), std::end(kFlags), key) != std::end(kFlags);
    bool value = std::find(std::begin(kValues), std::end(kValues), key) != std::end(kValues);
    if (word == "ro" || word == "rw") {
      mount.read_only = word == "ro";
    } else if (has_value ? value && word.size() > key.size() + 1 : flag) {
      mount.options.push_back(word);
    } else {
      context.report.error(node.place, "tmpfs option " + in_quotes(word) +
                                           " is not known; write size=64m, mode=1777, uid=0, "
                                           "gid=0, exec or ro");
    }
  }
  if (mount.target.empty()) return;
  d.spec.mounts.push_back(std::move(mount));
  d.mount_places.push_back(node.place);
}

void check_bind_source(LoadContext& context, const Place& place, const MountSpec& mount) {
  PathFacts facts = context.look(mount.source);
  if (facts.kind == PathKind::absent && !mount.create_source) {
    context.report.error(place, "the volume source " + mount.source +
                                    " does not exist; make it, or write create_host_path: true");
  } else if (facts.real == "/" && mount.source != "/") {
    context.report.error(place, "the volume source " + mount.source +
                                    " is a symbolic link to /; write / if the whole file system "
                                    "is meant");
  }
}

}  // namespace

void read_volumes(const Field& f, ServiceDraft& d) {
  if (!f.value().is_sequence()) {
    f.error("volumes must be a list, not " + std::string(kind_name(f.value())));
    return;
  }
  for (const Node& item : f.value().items) {
    MountSpec mount;
    if (item.is_scalar()) {
      read_short_mount(f.context, item, mount);
    } else {
      read_long_mount(f.context, item, mount);
    }
    if (mount.target.empty()) continue;
    d.spec.mounts.push_back(std::move(mount));
    d.mount_places.push_back(item.place);
  }
}

void read_tmpfs(const Field& f, ServiceDraft& d) {
  if (!f.value().is_sequence()) return read_tmpfs_item(f.context, f.value(), d);
  for (const Node& item : f.value().items) read_tmpfs_item(f.context, item, d);
}

void finish_mounts(LoadContext& context, ServiceDraft& d) {
  std::vector<std::size_t> order(d.spec.mounts.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return d.spec.mounts[a].target < d.spec.mounts[b].target;
  });
  std::vector<MountSpec> sorted;
  for (std::size_t i : order) {
    MountSpec& mount = d.spec.mounts[i];
    const Place& place = d.mount_places[i];
    if (!sorted.empty() && sorted.back().target == mount.target) {
      context.report.error(place,
                           "two volumes are mounted at " + mount.target + "; keep one of them");
      continue;
    }
    if (mount.kind == MountKind::bind && d.spec.runtime == RuntimeKind::oci) {
      check_bind_source(context, place, mount);
    }
    sorted.push_back(std::move(mount));
  }
  d.spec.mounts = std::move(sorted);
}

}  // namespace keepwell
