// post_start and pre_stop: commands that are run in the container.
#include "config/draft.h"

namespace keepwell {
namespace {

void read_hook_command(const Field& f, HookSpec& h) {
  std::optional<std::vector<std::string>> words;
  if (read_words(f, words) && words) h.command = std::move(*words);
}
void read_hook_user(const Field& f, HookSpec& h) {
  read_text(f.context, "user of a hook", f.value(), h.user);
}
void read_hook_privileged(const Field& f, HookSpec& h) {
  read_bool(f.context, "privileged of a hook", f.value(), h.privileged);
}
void read_hook_directory(const Field& f, HookSpec& h) {
  read_text(f.context, "working_dir of a hook", f.value(), h.working_dir);
}
void read_hook_environment(const Field& f, HookSpec& h) {
  std::vector<NamedValue> values;
  if (!read_named_values(f.context, "environment of a hook", f.value(), values)) return;
  for (NamedValue& named : values) {
    if (named.name.empty()) {
      f.context.report.error(named.place, "a variable has no name; write NAME: value");
      continue;
    }
    auto set = f.context.environment.find(named.name);
    if (!named.value && set != f.context.environment.end()) named.value = set->second;
    if (named.value) h.environment.emplace_back(std::move(named.name), std::move(*named.value));
  }
}

constexpr Key<HookSpec> kHookKeys[] = {{"command", read_hook_command},
                                       {"user", read_hook_user},
                                       {"privileged", read_hook_privileged},
                                       {"working_dir", read_hook_directory},
                                       {"environment", read_hook_environment}};

void read_hooks(const Field& f, std::vector<HookSpec>& hooks) {
  if (!f.value().is_sequence()) {
    f.error(f.name() + " must be a list, not " + std::string(kind_name(f.value())));
    return;
  }
  for (const Node& item : f.value().items) {
    HookSpec hook;
    read_map(f.context, item, "a hook of " + f.name(), kHookKeys, hook);
    if (!item.is_mapping()) continue;
    if (hook.command.empty() || hook.command.front().empty()) {
      f.context.report.error(
          item.place, "a hook of " + f.name() + " has no command; write command: [PROGRAM, ...]");
      continue;
    }
    hooks.push_back(std::move(hook));
  }
}

}  // namespace

void read_post_start(const Field& f, ServiceDraft& d) { read_hooks(f, d.spec.post_start); }
void read_pre_stop(const Field& f, ServiceDraft& d) { read_hooks(f, d.spec.pre_stop); }

}  // namespace keepwell
