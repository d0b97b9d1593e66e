// secrets and configs: the file's own, and what a service takes of them.
#include <algorithm>

#include "config/draft.h"
#include "config/paths.h"
#include "config/utf8.h"

namespace keepwell {
namespace {

struct FileDefinitionDraft {
  FileDefinition definition;
  int sources = 0;  // of file, environment, content
  bool external = false;
  bool secret = true;
};

void read_file(const Field& f, FileDefinitionDraft& d) {
  std::string path;
  if (!read_text(f.context, "file", f.value(), path)) return;
  ++d.sources;
  if (path.empty()) {
    f.error("file is empty; name a file");
    return;
  }
  d.definition.path = absolute_path(f.context, path);
}

void read_variable(const Field& f, FileDefinitionDraft& d) {
  std::string name;
  if (!read_text(f.context, "environment", f.value(), name)) return;
  ++d.sources;
  auto found = f.context.environment.find(name);
  if (found == f.context.environment.end()) {
    d.definition.unset = true;
    d.definition.variable = std::move(name);
    return;
  }
  d.definition.variable = std::move(name);
  d.definition.content = found->second;
}

void read_content(const Field& f, FileDefinitionDraft& d) {
  ++d.sources;
  read_text(f.context, "content", f.value(), d.definition.content);
}

void ignore(const Field&, FileDefinitionDraft&) {}

void read_external_file(const Field& f, FileDefinitionDraft& d) {
  bool external = f.value().is_mapping();
  if (!external && !read_bool(f.context, "external", f.value(), external)) return;
  if (!external) return;
  d.external = true;
  ++d.sources;
  f.context.report.unsupported(f.entry.key_place,
                               "external secrets and configs are not supported, there is no store "
                               "of them; use file or environment");
}

constexpr std::string_view kNoStore = "use file or environment";

constexpr Key<FileDefinitionDraft> kSecretKeys[] = {
    {"file", read_file},
    {"environment", read_variable},
    {"name", ignore},
    {"labels", ignore},
    {"external", read_external_file},
    {"driver", nullptr, kNoStore},
    {"driver_opts", nullptr, kNoStore},
    {"template_driver", nullptr, kNoStore},
};
constexpr Key<FileDefinitionDraft> kConfigKeys[] = {
    {"file", read_file},
    {"environment", read_variable},
    {"content", read_content},
    {"name", ignore},
    {"labels", ignore},
    {"external", read_external_file},
    {"template_driver", nullptr, kNoStore},
};

// ---- what a service takes

struct FileDraft {
  FileSpec spec;
  std::string target;
};

void read_file_source(const Field& f, FileDraft& d) {
  read_text(f.context, "source", f.value(), d.spec.name);
}
void read_file_target(const Field& f, FileDraft& d) {
  read_text(f.context, "target", f.value(), d.target);
}
void read_id(const Field& f, std::uint32_t& out) {
  std::int64_t value = 0;
  if (read_integer(f.context, f.name(), f.value(), 0, 4294967294, value)) {
    out = static_cast<std::uint32_t>(value);
  }
}
void read_uid(const Field& f, FileDraft& d) { read_id(f, d.spec.uid); }
void read_gid(const Field& f, FileDraft& d) { read_id(f, d.spec.gid); }
void read_file_mode(const Field& f, FileDraft& d) {
  if (read_mode(f.context, "mode", f.value(), d.spec.mode)) d.spec.mode &= ~0222U;  // by the rules
}

constexpr Key<FileDraft> kFileKeys[] = {{"source", read_file_source},
                                        {"target", read_file_target},
                                        {"uid", read_uid},
                                        {"gid", read_gid},
                                        {"mode", read_file_mode}};

// What the definition gives; the size of a file is looked at when all is read.
void take_definition(LoadContext& context, const Node& node, bool secret, FileDraft& d,
                     ServiceDraft& service) {
  const char* what = secret ? "secret" : "config";
  const auto& known = secret ? context.resources.secrets : context.resources.configs;
  auto found = known.find(d.spec.name);
  if (found == known.end()) {
    std::vector<std::string_view> names;
    for (const auto& [name, definition] : known) names.push_back(name);
    std::string_view near = nearest_name(d.spec.name, names);
    context.report.error(
        node.place, std::string(what) + " " + in_quotes(d.spec.name) + " is not among the file's " +
                        what + "s; " +
                        (near.empty() ? "add it to the top-level " + std::string(what) + "s"
                                      : "did you mean " + std::string(near) + "?"));
    return;
  }
  const FileDefinition& definition = found->second;
  if (definition.unset) {
    context.report.error(definition.place, std::string(what) + " " + d.spec.name +
                                               " takes its value from the variable " +
                                               in_quotes(definition.variable) +
                                               ", which is not set; set it in the environment or "
                                               "in .env");
    return;
  }
  d.spec.secret = secret;
  d.spec.path = definition.path;
  d.spec.variable = definition.variable;
  d.spec.content = definition.content;
  std::string base = secret ? "/run/secrets" : "/";
  d.spec.target = absolute_path(base, d.target.empty() ? d.spec.name : d.target);
  if (d.spec.target == "/" || d.spec.target == base) {
    context.report.error(node.place, "target " + in_quotes(d.target) + " names no file");
    return;
  }
  service.spec.files.push_back(std::move(d.spec));
  service.file_places.push_back(node.place);
}

void read_file_item(LoadContext& context, const Node& node, bool secret, ServiceDraft& service) {
  FileDraft d;
  if (node.is_scalar()) {
    d.spec.name = node.text;
  } else {
    read_map(context, node, secret ? "a secret" : "a config", kFileKeys, d);
    if (!node.is_mapping()) return;
    if (node.find("source") == nullptr) {
      context.report.error(node.place, "source is missing; name one of the file's " +
                                           std::string(secret ? "secrets" : "configs"));
      return;
    }
  }
  take_definition(context, node, secret, d, service);
}

void read_file_list(const Field& f, bool secret, ServiceDraft& d) {
  if (!f.value().is_sequence()) {
    f.error(f.name() + " must be a list, not " + std::string(kind_name(f.value())));
    return;
  }
  for (const Node& item : f.value().items) read_file_item(f.context, item, secret, d);
}

void check_file(LoadContext& context, const Place& place, const FileSpec& file) {
  std::string what = std::string(file.secret ? "secret " : "config ") + file.name;
  std::uint64_t bytes = file.content.size();
  if (!file.path.empty()) {
    PathFacts facts = context.look(file.path);
    if (facts.kind == PathKind::unknown) return;
    if (facts.kind == PathKind::absent) {
      context.report.error(place, what + ": the file " + file.path + " does not exist");
      return;
    }
    if (facts.kind != PathKind::file) {
      context.report.error(place, what + ": " + file.path + " is not a regular file");
      return;
    }
    bytes = facts.bytes;
  }
  if (bytes > kFileSpecBytesMax) {
    context.report.error(
        place, what + " is " + std::to_string(bytes >> 10) + " KB large, and may have " +
                   std::to_string(kFileSpecBytesMax >> 10) + " KB; mount it with volumes instead");
  }
}

}  // namespace

void read_secrets(const Field& f, ServiceDraft& d) { read_file_list(f, true, d); }
void read_configs(const Field& f, ServiceDraft& d) { read_file_list(f, false, d); }

void read_file_definitions(LoadContext& context, const Node& node, bool secret) {
  const char* what = secret ? "secret" : "config";
  if (node.is_null() || !expect_map(context, node, std::string(what) + "s")) return;
  auto& known = secret ? context.resources.secrets : context.resources.configs;
  for (const Entry& entry : node.entries) {
    FileDefinitionDraft d;
    d.secret = secret;
    std::string name = std::string(what) + " " + entry.key;
    if (secret) {
      read_map(context, entry.value, name, kSecretKeys, d);
    } else {
      read_map(context, entry.value, name, kConfigKeys, d);
    }
    if (entry.value.is_mapping() && d.sources != 1) {
      context.report.error(
          entry.key_place,
          name + (d.sources == 0 ? " has no content; write " : " has several; keep one of ") +
              (secret ? "file or environment" : "file, environment or content"));
    }
    for (const Entry& key : entry.value.entries) {
      if (d.external || (key.key != "name" && key.key != "labels")) continue;
      context.report.warning(
          key.key_place,
          key.key + " of " + name +
              (key.key == "name" ? " has no effect; remove it" : " have no effect; remove them"));
    }
    d.definition.place = entry.key_place;
    known[entry.key] = std::move(d.definition);
  }
}

void finish_files(LoadContext& context, ServiceDraft& d) {
  for (std::size_t i = 0; i < d.spec.files.size(); ++i) {
    const FileSpec& file = d.spec.files[i];
    const Place& place = d.file_places[i];
    if (d.spec.runtime == RuntimeKind::oci) check_file(context, place, file);
    for (std::size_t k = 0; k < i; ++k) {
      if (d.spec.files[k].target == file.target) {
        context.report.error(place, "two files are put at " + file.target + "; keep one of them");
        break;
      }
    }
  }
  std::stable_sort(d.spec.files.begin(), d.spec.files.end(),
                   [](const FileSpec& a, const FileSpec& b) { return a.secret && !b.secret; });
}

}  // namespace keepwell
