#include "exporters/container_filter.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "config/image_reference.h"
#include "exporters/health_json.h"
#include "exporters/inspect_json.h"
#include "exporters/name_pattern.h"

namespace keepwell {
namespace {

constexpr const char* kKeys[] = {"ancestor", "before",  "exited",    "expose", "health",
                                 "id",       "is-task", "isolation", "label",  "name",
                                 "network",  "publish", "since",     "status", "volume"};
constexpr const char* kStates[] = {"created",  "running", "paused", "restarting",
                                   "removing", "exited",  "dead"};
constexpr const char* kHealths[] = {"none", "starting", "healthy", "unhealthy"};

template <std::size_t N>
bool one_of(const char* const (&list)[N], const std::string& word) {
  return std::any_of(list, list + N, [&](const char* one) { return word == one; });
}

bool running(const ContainerStatus& c) {
  const std::string status = api_status(c.state);
  return status != "created" && status != "exited";
}

bool has(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

tl::unexpected<Error> invalid(const std::string& text) { return fail(Errc::invalid, text); }

tl::unexpected<Error> bad_value(const char* key, const std::string& value, const char* what,
                                const char* words) {
  return invalid(std::string("invalid filter '") + key + "=" + value + "': invalid value for " +
                 what + " (" + value + "): must be one of " + words);
}

Status check_words(const Filters& filters) {
  for (const auto& [key, values] : filters.values) {
    if (!one_of(kKeys, key)) return invalid("invalid filter '" + key + "'");
  }
  for (const std::string& value : filters.of("status")) {
    if (one_of(kStates, value)) continue;
    return bad_value("status", value, "state",
                     "created, running, paused, restarting, removing, exited, dead");
  }
  for (const std::string& value : filters.of("health")) {
    if (one_of(kHealths, value)) continue;
    return bad_value("health", value, "health", "none, starting, healthy, unhealthy");
  }
  return {};
}

Result<std::vector<int>> exit_codes(const Filters& filters) {
  std::vector<int> codes;
  for (const std::string& text : filters.of("exited")) {
    int code = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), code);
    if (error != std::errc() || end != text.data() + text.size()) {
      return invalid("invalid filter 'exited=" + text + "'");
    }
    codes.push_back(code);
  }
  return codes;
}

Result<std::vector<NamePattern>> name_patterns(const Filters& filters) {
  std::vector<NamePattern> patterns;
  for (const std::string& text : filters.of("name")) {
    Result<NamePattern> pattern = NamePattern::parse(text);
    if (!pattern) return fail(pattern.error().with("invalid filter 'name=" + text + "'"));
    patterns.push_back(std::move(*pattern));
  }
  return patterns;
}

struct PortRange {
  int first = 0, last = 0;
  std::string protocol;
};

bool one_has(const std::vector<PortRange>& ranges, int port, const std::string& protocol) {
  return port != 0 && std::any_of(ranges.begin(), ranges.end(), [&](const PortRange& range) {
           return range.first <= port && port <= range.last && range.protocol == protocol;
         });
}

// "80", "80/udp", "8000-8080/tcp".
Result<std::vector<PortRange>> port_ranges(const Filters& filters, const char* key) {
  std::vector<PortRange> ranges;
  for (const std::string& text : filters.of(key)) {
    const std::size_t slash = std::min(text.find('/'), text.size());
    const std::size_t dash = std::min(text.find('-'), slash);
    PortRange range;
    range.protocol = slash < text.size() ? text.substr(slash + 1) : "tcp";
    const char* begin = text.data();
    const auto [first_end, first_error] = std::from_chars(begin, begin + dash, range.first);
    range.last = range.first;
    bool good = first_error == std::errc() && first_end == begin + dash;
    if (good && dash < slash) {
      const auto [end, error] = std::from_chars(begin + dash + 1, begin + slash, range.last);
      good = error == std::errc() && end == begin + slash;
    }
    if (!good || range.first < 1 || range.last > 65535 || range.last < range.first ||
        (range.protocol != "tcp" && range.protocol != "udp" && range.protocol != "sctp"))
      return invalid("invalid filter '" + std::string(key) + "=" + text +
                     "': must be PORT[-PORT][/PROTOCOL]");
    ranges.push_back(std::move(range));
  }
  return ranges;
}

// By whole id, name with or without slash, or a prefix of the id.
const ContainerStatus* find(std::span<const ContainerStatus* const> all, std::string name) {
  if (!name.empty() && name[0] == '/') name.erase(0, 1);
  if (name.empty()) return nullptr;
  for (const ContainerStatus* c : all) {
    if (c->id == name || c->name == name) return c;
  }
  const ContainerStatus* found = nullptr;
  for (const ContainerStatus* c : all) {
    if (!c->id.starts_with(name)) continue;
    if (found != nullptr) return nullptr;
    found = c;
  }
  return found;
}

// Newest first. Those made by one load of the configuration share their time: the later in the file
// then counts as the newer.
std::vector<const ContainerStatus*> newest_first(std::span<const ContainerStatus* const> all) {
  std::vector<const ContainerStatus*> sorted(all.rbegin(), all.rend());
  std::stable_sort(
      sorted.begin(), sorted.end(),
      [](const ContainerStatus* a, const ContainerStatus* b) { return a->created > b->created; });
  return sorted;
}

bool is_image_id(const std::string& id, std::string_view asked) {
  constexpr std::size_t kShortest = 4;
  const std::string_view hex = asked.substr(asked.starts_with("sha256:") ? 7 : 0);
  return hex.size() >= kShortest && id.size() > 7 &&
         std::string_view(id).substr(7).starts_with(hex);
}

// Everything that one query asks of each container, compiled.
struct Selection {
  const Filters& filters;
  const std::function<RuntimeFacts(const ContainerStatus&)>& facts;
  std::vector<int> exited;
  std::vector<NamePattern> names;
  std::vector<PortRange> publish, expose;
  const ContainerStatus* before = nullptr;
  const ContainerStatus* since = nullptr;
  bool stopped_too = false;

  bool name_matches(const ContainerStatus& c) const {
    const std::vector<std::string>& wanted = filters.of("name");
    if (wanted.empty()) return true;
    if (has(wanted, c.name) || has(wanted, "/" + c.name)) return true;
    return std::any_of(names.begin(), names.end(), [&](const NamePattern& pattern) {
      return pattern.found_in(c.name) || pattern.found_in("/" + c.name);
    });
  }

  bool id_matches(const ContainerStatus& c) const {
    const std::vector<std::string>& wanted = filters.of("id");
    return wanted.empty() || std::any_of(wanted.begin(), wanted.end(), [&](const std::string& id) {
             return !id.empty() && c.id.starts_with(id);
           });
  }

  // A stopped container has no health to be found by: its last verdict is only a memory.
  bool health_matches(const ContainerStatus& c) const {
    const std::vector<std::string>& wanted = filters.of("health");
    if (wanted.empty()) return true;
    const bool shown = running(c) && has_health(c);
    return has(wanted, shown ? to_string(c.health) : "none");
  }

  // "bb" finds bb and bb:latest; "bb:1" only itself. An image's id, or its beginning, does too.
  bool image_matches(const ContainerStatus& c) const {
    const std::vector<std::string>& wanted = filters.of("ancestor");
    if (wanted.empty()) return true;
    const std::string image = image_text(*c.spec);
    const Result<ImageReference> reference = parse_image_reference(image);
    return has(wanted, image) || std::any_of(wanted.begin(), wanted.end(), [&](const auto& one) {
             if (is_image_id(c.spec->image_id, one)) return true;
             const Result<ImageReference> asked = parse_image_reference(one);
             return reference && asked && asked->full() == reference->full();
           });
  }

  bool network_matches(const ContainerStatus& c) const {
    const std::vector<std::string>& wanted = filters.of("network");
    if (wanted.empty()) return true;
    const bool process = c.spec->runtime == RuntimeKind::process;
    return has(wanted, process ? "host" : c.spec->network_mode) ||
           std::any_of(c.spec->networks.begin(), c.spec->networks.end(),
                       [&](const NetworkUse& use) { return has(wanted, use.network.name); });
  }

  bool exit_matches(const ContainerStatus& c) const {
    if (filters.of("exited").empty()) return true;
    return !running(c) && c.started &&
           std::find(exited.begin(), exited.end(), c.exit_code) != exited.end();
  }

  // By name or by where it is in the container.
  bool volume_matches(const RuntimeFacts& known) const {
    const std::vector<std::string>& wanted = filters.of("volume");
    return wanted.empty() ||
           std::any_of(known.mounts.begin(), known.mounts.end(), [&](const MountFacts& mount) {
             return has(wanted, mount.name) || has(wanted, mount.destination);
           });
  }

  bool port_matches(const RuntimeFacts& known) const {
    if (publish.empty() && expose.empty()) return true;
    return std::any_of(known.ports.begin(), known.ports.end(), [&](const PortFacts& port) {
      return one_has(publish, port.host_port, port.protocol) ||
             one_has(expose, port.container_port, port.protocol);
    });
  }

  // Those that are asked only of what `facts` knows.
  bool facts_match(const ContainerStatus& c) const {
    const std::vector<std::string>& labels = filters.of("label");
    if (labels.empty() && filters.of("volume").empty() && publish.empty() && expose.empty())
      return true;
    const RuntimeFacts known = facts ? facts(c) : RuntimeFacts{};
    return (labels.empty() || labels_match(container_labels(c, known), labels)) &&
           volume_matches(known) && port_matches(known);
  }

  bool matches(const ContainerStatus& c) const {
    const std::vector<std::string>& status = filters.of("status");
    if (!stopped_too && !running(c)) return false;
    if (!status.empty() && !has(status, api_status(c.state))) return false;
    return id_matches(c) && name_matches(c) && health_matches(c) && image_matches(c) &&
           network_matches(c) && exit_matches(c) && facts_match(c);
  }
};

Status resolve(std::span<const ContainerStatus* const> all, const Filters& filters, const char* key,
               const ContainerStatus*& into) {
  for (const std::string& name : filters.of(key)) {
    into = find(all, name);
    if (into == nullptr) return fail(Errc::not_found, "No such container: " + name);
  }
  return {};
}

}  // namespace

Result<std::vector<const ContainerStatus*>> select_containers(
    std::span<const ContainerStatus* const> containers, const ListQuery& query) {
  if (Status good = check_words(query.filters); !good) return fail(good.error());
  Result<std::vector<int>> codes = exit_codes(query.filters);
  if (!codes) return fail(codes.error());
  Result<std::vector<NamePattern>> patterns = name_patterns(query.filters);
  if (!patterns) return fail(patterns.error());

  Result<std::vector<PortRange>> publish = port_ranges(query.filters, "publish");
  if (!publish) return fail(publish.error());
  Result<std::vector<PortRange>> expose = port_ranges(query.filters, "expose");
  if (!expose) return fail(expose.error());

  Selection selection{.filters = query.filters,
                      .facts = query.facts,
                      .exited = std::move(*codes),
                      .names = std::move(*patterns),
                      .publish = std::move(*publish),
                      .expose = std::move(*expose),
                      .stopped_too = query.all || query.limit > 0 ||
                                     !query.filters.of("status").empty() ||
                                     !query.filters.of("exited").empty()};
  Status good = resolve(containers, query.filters, "before", selection.before);
  if (good) good = resolve(containers, query.filters, "since", selection.since);
  if (!good) return fail(good.error());

  const std::vector<const ContainerStatus*> sorted = newest_first(containers);
  const auto rank = [&](const ContainerStatus* c) {
    return std::find(sorted.begin(), sorted.end(), c);
  };
  const auto first = selection.before != nullptr ? rank(selection.before) + 1 : sorted.begin();
  const auto last = selection.since != nullptr ? rank(selection.since) : sorted.end();
  std::vector<const ContainerStatus*> chosen;
  for (auto at = first; at < last; ++at) {
    if (selection.matches(**at)) chosen.push_back(*at);
  }
  if (query.limit > 0 && chosen.size() > static_cast<std::size_t>(query.limit)) {
    chosen.resize(static_cast<std::size_t>(query.limit));
  }
  return chosen;
}

}  // namespace keepwell
