#include "config/compose_files.h"

#include <algorithm>
#include <set>
#include <utility>

#include "config/compose_paths.h"
#include "config/env_file.h"
#include "config/interpolate.h"
#include "config/merge.h"
#include "config/paths.h"
#include "config/utf8.h"

namespace keepwell {
namespace {

constexpr std::size_t kEnvFileBytesMax = std::size_t{1} << 20;
constexpr std::size_t kFilesMax = 200;
constexpr std::size_t kDepthMax = 20;  // of include, and of extends

using Environment = std::map<std::string, std::string>;

VariableLookup look_up_in(const Environment& environment) {
  return [&environment](std::string_view name) -> std::optional<std::string> {
    auto found = environment.find(std::string(name));
    if (found == environment.end()) return std::nullopt;
    return found->second;
  };
}

// Replaces variables in all values of NODE; never in keys.
void interpolate_tree(Report& report, const VariableLookup& lookup, Node& node) {
  if (node.is_scalar() && node.text.find('$') != std::string::npos) {
    Result<Interpolated> result = interpolate(node.text, lookup);
    if (!result) {
      report.error(node.place, result.error().text);
      return;
    }
    for (const std::string& name : result->unset) {
      report.warning(node.place, unset_variable_text(name));
    }
    if (find_bad_utf8(result->text) != std::string_view::npos) {
      report.error(node.place,
                   "a variable here has a value that is not UTF-8 text; pass it through "
                   "environment, which takes any bytes");
      return;
    }
    node.text = std::move(result->text);
  }
  for (Node& item : node.items) interpolate_tree(report, lookup, item);
  for (Entry& entry : node.entries) interpolate_tree(report, lookup, entry.value);
}

std::size_t count_nodes(const Node& node) {
  std::size_t count = 1;
  for (const Node& item : node.items) count += count_nodes(item);
  for (const Entry& entry : node.entries) count += count_nodes(entry.value);
  return count;
}

// Whether A and B say the same, wherever they stand.
bool same_value(const Node& a, const Node& b) {
  return a.kind == b.kind && a.mark == b.mark && a.text == b.text &&
         std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), same_value) &&
         std::equal(a.entries.begin(), a.entries.end(), b.entries.begin(), b.entries.end(),
                    [](const Entry& x, const Entry& y) {
                      return x.key == y.key && same_value(x.value, y.value);
                    });
}

// ---- include

struct IncludeDraft {
  std::vector<std::string> paths, env_files;
  std::string directory;
};

void read_include_path(const Field& f, IncludeDraft& d) {
  read_text_or_list(f.context, "include.path", f.value(), d.paths);
}
void read_include_env(const Field& f, IncludeDraft& d) {
  read_text_or_list(f.context, "include.env_file", f.value(), d.env_files);
}
void read_include_directory(const Field& f, IncludeDraft& d) {
  read_text(f.context, "include.project_directory", f.value(), d.directory);
}

constexpr Key<IncludeDraft> kIncludeKeys[] = {{"path", read_include_path},
                                              {"env_file", read_include_env},
                                              {"project_directory", read_include_directory}};

// Reads trees. One for a load, so that its bounds are the load's.
class TreeReader {
 public:
  explicit TreeReader(LoadContext& context) : context_(context) {}

  // The files of the command line as one tree.
  std::optional<Node> read(const std::vector<std::string>& files,
                           const std::function<void(const Node* name, int file)>& on_name) {
    std::vector<Source> sources = parse_all(files, nullptr);
    if (sources.empty()) return std::nullopt;
    std::optional<Node> name;
    for (Source& source : sources) {
      if (const Node* own = find_child(source.tree, "name")) name = *own;
    }
    if (name) interpolate_tree(context_.report, look_up_in(context_.environment), *name);
    on_name(name ? &*name : nullptr, sources.front().tree.place.file);
    return put_together(std::move(sources), context_.directory, context_.environment);
  }

 private:
  struct Source {
    std::string path;
    Node tree;
  };

  struct File {
    std::string path;
    std::string directory;  // relative paths of a file that services extend from start here
    Node* services = nullptr;
    std::set<std::string> done;  // services that extend nothing any more
  };

  // PLACE: where the file was named in another one; null: on the command line.
  std::optional<Node> parse(const std::string& path, const Place* place) {
    int file = context_.report.add_file(path);
    Place whole{file, 0, 0};
    if (++files_ > kFilesMax) {
      context_.report.error(place != nullptr ? *place : whole,
                            "the project has more than " + std::to_string(kFilesMax) + " files");
      return std::nullopt;
    }
    Result<std::string> text = context_.read_file(path, kComposeFileBytesMax);
    if (!text) {
      context_.report.error(place != nullptr ? *place : whole, text.error().text);
      return std::nullopt;
    }
    return parse_compose_tree(*text, file, context_.report);
  }

  // Those that can be read.
  std::vector<Source> parse_all(const std::vector<std::string>& files, const Place* place) {
    std::vector<Source> sources;
    for (const std::string& path : files) {
      if (std::optional<Node> tree = parse(path, place))
        sources.push_back({path, std::move(*tree)});
    }
    return sources;
  }

  // One tree of all, as docker compose merges several -f. REQUIRES: there is one.
  Node put_together(std::vector<Source> sources, const std::string& directory,
                    const Environment& environment) {
    for (Source& source : sources) resolve(source, directory, environment);
    Node merged = std::move(sources.front().tree);
    for (std::size_t i = 1; i < sources.size(); ++i) {
      merge_compose_tree(merged, std::move(sources[i].tree), context_.report);
    }
    return merged;
  }

  // Replaces variables, and puts in what the file extends and includes.
  void resolve(Source& source, const std::string& directory, const Environment& environment) {
    interpolate_tree(context_.report, look_up_in(environment), source.tree);
    if (!source.tree.is_mapping()) return;
    open_files_.push_back(source.path);
    extend_services(source.path, directory, environment, source.tree);
    include(directory, environment, source.tree);
    open_files_.pop_back();
  }

  // ---- extends

  void extend_services(const std::string& path, const std::string& directory,
                       const Environment& environment, Node& tree) {
    Node* services = find_child(tree, "services");
    if (services == nullptr || !services->is_mapping()) return;
    File file{path, directory, services, {}};
    std::vector<std::pair<std::string, std::string>> chain;
    for (Entry& entry : services->entries) extend(file, environment, entry, chain);
  }

  // CHAIN: the services (file, name) that are waiting for this one.
  void extend(File& file, const Environment& environment, Entry& service,
              std::vector<std::pair<std::string, std::string>>& chain) {
    Node* extends = service.value.is_mapping() ? find_child(service.value, "extends") : nullptr;
    if (extends == nullptr || !file.done.insert(service.key).second) return;
    Place place = extends->place;
    std::string name, other;
    bool good = read_extends(*extends, name, other);
    std::erase_if(service.value.entries, [](const Entry& e) { return e.key == "extends"; });
    if (!good) return;
    if (chain.size() >= kDepthMax) {
      return context_.report.error(
          place, "extends is nested deeper than " + std::to_string(kDepthMax) + " levels");
    }
    chain.emplace_back(file.path, service.key);
    std::optional<Node> base;
    if (other.empty()) {
      base = base_of(file, environment, place, name, chain);
    } else {
      base = base_in_file(absolute_path(file.directory, other), environment, place, name, chain);
    }
    chain.pop_back();
    if (!base) return;
    merge_compose_value(*base, std::move(service.value));
    service.value = std::move(*base);
  }

  bool read_extends(const Node& node, std::string& service, std::string& file) {
    if (node.is_scalar()) {
      service = node.text;
      return true;
    }
    struct Draft {
      std::string service, file;
    } draft;
    static constexpr Key<Draft> kKeys[] = {
        {"service",
         [](const Field& f, Draft& d) {
           read_text(f.context, "extends.service", f.value(), d.service);
         }},
        {"file", [](const Field& f, Draft& d) {
           read_text(f.context, "extends.file", f.value(), d.file);
         }}};
    read_map(context_, node, "extends", kKeys, draft);
    service = draft.service;
    file = draft.file;
    if (!service.empty()) return true;
    if (node.is_mapping()) {
      context_.report.error(node.place, "extends names no service; write service: NAME");
    }
    return false;
  }

  // A copy of the service NAME of FILE, itself extended.
  std::optional<Node> base_of(File& file, const Environment& environment, const Place& place,
                              const std::string& name,
                              std::vector<std::pair<std::string, std::string>>& chain) {
    for (const auto& [path, service] : chain) {
      if (path != file.path || service != name) continue;
      context_.report.error(place, "extends goes in a circle over service " + in_quotes(name) +
                                       "; remove one of them");
      return std::nullopt;
    }
    for (Entry& entry : file.services->entries) {
      if (entry.key != name) continue;
      if (!entry.value.is_mapping()) return std::nullopt;  // which its reader reports
      extend(file, environment, entry, chain);
      copied_ += count_nodes(entry.value);
      if (copied_ > kComposeNodesMax) {
        context_.report.error(place, "the file grows beyond " + std::to_string(kComposeNodesMax) +
                                         " values when extends is followed; that is no "
                                         "configuration of services");
        return std::nullopt;
      }
      return entry.value;
    }
    std::vector<std::string_view> names;
    for (const Entry& entry : file.services->entries) names.push_back(entry.key);
    std::string_view near = context_.report.full() ? std::string_view() : nearest_name(name, names);
    context_.report.error(place,
                          "service " + in_quotes(name) + " is not in " + file.path +
                              (near.empty() ? "" : "; did you mean " + std::string(near) + "?"));
    return std::nullopt;
  }

  std::optional<Node> base_in_file(const std::string& path, const Environment& environment,
                                   const Place& place, const std::string& name,
                                   std::vector<std::pair<std::string, std::string>>& chain) {
    std::optional<Node> tree = parse(path, &place);
    if (!tree) return std::nullopt;
    interpolate_tree(context_.report, look_up_in(environment), *tree);
    Node* services = tree->is_mapping() ? find_child(*tree, "services") : nullptr;
    if (services == nullptr || !services->is_mapping()) {
      context_.report.error(place, path + " has no services to extend from");
      return std::nullopt;
    }
    File file{path, directory_of(path), services, {}};
    std::optional<Node> base = base_of(file, environment, place, name, chain);
    if (base) make_service_absolute(file.directory, *base);
    return base;
  }

  // ---- include

  void include(const std::string& directory, const Environment& environment, Node& tree) {
    Node* list = find_child(tree, "include");
    if (list == nullptr) return;
    Node items = std::move(*list);
    std::erase_if(tree.entries, [](const Entry& e) { return e.key == "include"; });
    if (!items.is_sequence()) {
      return context_.report.error(items.place,
                                   "include must be a list, not " + std::string(kind_name(items)));
    }
    for (const Node& item : items.items) include_one(directory, environment, item, tree);
  }

  void include_one(const std::string& directory, const Environment& environment, const Node& item,
                   Node& tree) {
    IncludeDraft d;
    if (item.is_scalar()) {
      d.paths = {item.text};
    } else {
      read_map(context_, item, "include", kIncludeKeys, d);
    }
    if (d.paths.empty() || d.paths.front().empty()) {
      if (item.is_mapping() || item.is_scalar()) {
        context_.report.error(item.place, "include names no file; write path: FILE");
      }
      return;
    }
    for (std::string& path : d.paths) path = absolute_path(directory, path);
    for (const std::string& path : d.paths) {
      for (const std::string& open : open_files_) {
        if (absolute_path(directory, open) != path) continue;
        return context_.report.error(
            item.place, "include goes in a circle over " + path + "; remove one of them");
      }
    }
    if (open_files_.size() > kDepthMax) {
      return context_.report.error(
          item.place, "include is nested deeper than " + std::to_string(kDepthMax) + " levels");
    }
    std::string theirs =
        d.directory.empty() ? directory_of(d.paths.front()) : absolute_path(directory, d.directory);
    Environment values = environment;
    if (d.env_files.empty()) {
      add_env_file(context_, absolute_path(theirs, ".env"), std::nullopt, values);
    }
    for (auto path = d.env_files.rbegin(); path != d.env_files.rend(); ++path) {
      add_env_file(context_, absolute_path(directory, *path), item.place, values);
    }
    std::vector<Source> sources = parse_all(d.paths, &item.place);
    if (sources.empty()) return;
    Node included = put_together(std::move(sources), theirs, values);
    if (!included.is_mapping()) return;
    make_project_absolute(theirs, included);
    import(std::move(included), tree);
  }

  // Puts what was included beside what the file has itself; a name that both have for different
  // things is a mistake.
  void import(Node included, Node& tree) {
    for (Entry& section : included.entries) {
      if (section.key == "name" || section.key == "version" || section.key.rfind("x-", 0) == 0) {
        continue;  // the including file's own count
      }
      Node* into = find_child(tree, section.key);
      if (into == nullptr || into->is_null()) {
        std::erase_if(tree.entries, [&](const Entry& e) { return e.key == section.key; });
        tree.entries.push_back(std::move(section));
        continue;
      }
      if (!into->is_mapping() || !section.value.is_mapping()) continue;  // which is reported later
      std::map<std::string, std::size_t> known;
      for (std::size_t i = 0; i < into->entries.size(); ++i) known[into->entries[i].key] = i;
      for (Entry& entry : section.value.entries) {
        auto same = known.find(entry.key);
        if (same != known.end()) {
          // Two files may include the same third one.
          if (same_value(into->entries[same->second].value, entry.value)) continue;
          context_.report.error(entry.key_place, in_quotes(entry.key) + " of " + section.key +
                                                     " is in the including file too; rename one "
                                                     "of them");
        } else {
          into->entries.push_back(std::move(entry));
        }
      }
    }
  }

  LoadContext& context_;
  std::size_t files_ = 0;
  std::size_t copied_ = 0;
  std::vector<std::string> open_files_;
};

}  // namespace

std::optional<Node> read_compose_files(
    LoadContext& context, const std::vector<std::string>& files,
    const std::function<void(const Node* name, int file)>& on_name) {
  std::optional<Node> tree = TreeReader(context).read(files, on_name);
  if (tree) remove_reset_values(*tree);
  return tree;
}

void add_env_file(LoadContext& context, const std::string& path, const std::optional<Place>& place,
                  std::map<std::string, std::string>& environment) {
  Result<std::string> text = context.read_file(path, kEnvFileBytesMax);
  if (!text) {
    if (place) {
      context.report.error(*place, text.error().text);
    } else if (text.error().code != Errc::not_found) {
      context.report.error({context.report.add_file(path), 0, 0}, text.error().text);
    }
    return;
  }
  EnvFile env = parse_env_file(*text, look_up_in(environment));
  int file = context.report.add_file(path);
  for (EnvFileMistake& mistake : env.mistakes) {
    context.report.error({file, mistake.line, 1}, mistake.text);
  }
  Environment values;
  for (auto& [name, value] : env.values) values.insert_or_assign(name, std::move(value));
  environment.merge(values);  // keeps what is there
}

}  // namespace keepwell
