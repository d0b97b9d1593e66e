// environment and env_file. A name without a value takes it from keepwell's own environment or
// .env; where neither has it, the variable is left out, also when an env_file sets it.
#include <unordered_map>

#include "config/draft.h"
#include "config/env_file.h"

namespace keepwell {
namespace {

constexpr std::size_t kEnvFileBytesMax = std::size_t{1} << 20;

std::optional<std::string> look_up(const LoadContext& context, std::string_view name) {
  auto found = context.environment.find(std::string(name));
  if (found == context.environment.end()) return std::nullopt;
  return found->second;
}

struct EnvFileEntry {
  std::string path;
  bool required = true;
  bool raw = false;
};

void read_path(const Field& f, EnvFileEntry& e) {
  read_text(f.context, "env_file.path", f.value(), e.path);
}
void read_required(const Field& f, EnvFileEntry& e) {
  read_bool(f.context, "env_file.required", f.value(), e.required);
}
void read_format(const Field& f, EnvFileEntry& e) {
  constexpr std::string_view kFormats[] = {"raw"};
  std::size_t which = 0;
  if (read_choice(f.context, "env_file.format", f.value(), kFormats, which)) e.raw = true;
}

constexpr Key<EnvFileEntry> kEnvFileKeys[] = {
    {"path", read_path}, {"required", read_required}, {"format", read_format}};

void load_env_file(const Field& f, const Node& node, ServiceDraft& d) {
  EnvFileEntry e;
  if (node.is_mapping()) {
    read_map(f.context, node, "env_file", kEnvFileKeys, e);
  } else if (!read_text(f.context, "an item of env_file", node, e.path)) {
    return;
  }
  if (e.path.empty()) {
    f.context.report.error(node.place, "env_file names no file; write path: FILE");
    return;
  }
  std::string path = absolute_path(f.context, e.path);
  Result<std::string> text = f.context.read_file(path, kEnvFileBytesMax);
  if (!text) {
    if (e.required || text.error().code != Errc::not_found) {
      f.context.report.error(node.place, "env_file: " + text.error().text);
    }
    return;
  }
  auto lookup = [&](std::string_view name) { return look_up(f.context, name); };
  EnvFile file = e.raw ? parse_raw_env_file(*text, lookup) : parse_env_file(*text, lookup);
  if (!file.mistakes.empty()) {
    int number = f.context.report.add_file(path);
    for (EnvFileMistake& mistake : file.mistakes) {
      f.context.report.error({number, mistake.line, 1}, mistake.text);
    }
  }
  for (const std::string& name : file.unset) {
    f.context.report.warning(node.place, "env_file: " + unset_variable_text(name));
  }
  for (auto& [name, value] : file.values) {
    d.env_file.push_back({std::move(name), std::move(value), node.place});
  }
}

}  // namespace

void read_env_file(const Field& f, ServiceDraft& d) {
  if (f.value().is_sequence()) {
    for (const Node& item : f.value().items) load_env_file(f, item, d);
  } else {
    load_env_file(f, f.value(), d);
  }
}

// The lines NAME=value of files, under `labels`.
void read_label_file(const Field& f, ServiceDraft& d) {
  ServiceDraft files;
  read_env_file(f, files);
  d.label_files = std::move(files.env_file);
}

void read_environment(const Field& f, ServiceDraft& d) {
  read_named_values(f.context, "environment", f.value(), d.environment);
}

void finish_environment(LoadContext& context, ServiceDraft& d) {
  for (auto label = d.label_files.rbegin(); label != d.label_files.rend(); ++label) {
    d.spec.labels.try_emplace(label->name, label->value.value_or(""));
  }
  std::vector<std::pair<std::string, std::optional<std::string>>> all;
  std::unordered_map<std::string, std::size_t> index;
  auto put = [&](NamedValue& named) {
    auto [found, fresh] = index.try_emplace(named.name, all.size());
    if (fresh) all.emplace_back(named.name, std::nullopt);
    all[found->second].second = std::move(named.value);
  };
  for (NamedValue& named : d.env_file) put(named);
  for (NamedValue& named : d.environment) {
    if (named.name.empty()) {
      context.report.error(named.place, "a variable has no name; write NAME: value");
      continue;
    }
    if (!named.value) named.value = look_up(context, named.name);
    put(named);
  }
  for (auto& [name, value] : all) {
    if (value) d.spec.environment.emplace_back(name, std::move(*value));
  }
}

}  // namespace keepwell
