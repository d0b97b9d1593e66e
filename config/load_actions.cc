// on_unhealthy: one word, or a list of what is done, in order:
//   on_unhealthy: restart
//   on_unhealthy: [capture, hook: page, restart]
//   on_unhealthy:
//     - hook: { command: [/usr/local/bin/drain, web], timeout: 10s }
//     - webhook: https://alerts.example/keepwell
//     - restart
// What stands before the word is over before the word is done; what stands behind it is not waited
// for. A list without a word leaves the service as it is. `hook: NAME` and `webhook: NAME` name an
// entry of the service's x-keepwell.hooks.
#include <algorithm>

#include "config/draft.h"

namespace keepwell {
namespace {

std::string base_name(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

bool has_nul(const std::vector<std::string>& words) {
  return std::any_of(words.begin(), words.end(),
                     [](const std::string& word) { return word.find('\0') != std::string::npos; });
}

void read_hook_command(const Field& f, ActionDraft& d) {
  std::vector<std::string> words;
  if (!read_text_list(f.context, "hook.command", f.value(), words)) return;
  if (words.empty() || words.front().empty() || has_nul(words)) {
    f.error("hook.command names no program; write [program, argument, ...]");
    return;
  }
  d.spec.hook.command = std::move(words);
}

void read_hook_timeout(const Field& f, ActionDraft& d) {
  Duration timeout{};
  if (!read_duration(f.context, "timeout", f.value(), timeout)) return;
  if (timeout <= Duration{0} || timeout > std::chrono::hours(1)) {
    f.error("timeout " + in_quotes(f.value().text) + " is out of range; write 1s to 1h");
    return;
  }
  d.spec.hook.timeout = timeout;
  d.spec.webhook.timeout = timeout;
}

void read_webhook_url(const Field& f, ActionDraft& d) {
  std::string url;
  if (read_text(f.context, "webhook.url", f.value(), url)) read_url(f, url, d.spec.webhook);
}
void read_webhook_headers(const Field& f, ActionDraft& d) {
  read_http_headers(f, d.spec.webhook.request);
}
void read_webhook_tls(const Field& f, ActionDraft& d) { read_http_tls(f, d.spec.webhook.request); }
void read_secret_file(const Field& f, ActionDraft& d) {
  std::string path;
  if (!read_text(f.context, "webhook.secret_file", f.value(), path)) return;
  if (path.empty()) return f.error("webhook.secret_file is empty; name a file or remove it");
  d.spec.webhook.secret_file = absolute_path(f.context, path);
}

constexpr Key<ActionDraft> kHookKeys[] = {{"command", read_hook_command},
                                          {"timeout", read_hook_timeout}};
constexpr Key<ActionDraft> kWebhookKeys[] = {{"url", read_webhook_url},
                                             {"headers", read_webhook_headers},
                                             {"secret_file", read_secret_file},
                                             {"timeout", read_hook_timeout},
                                             {"tls", read_webhook_tls}};
constexpr Key<ActionDraft> kNamedKeys[] = {
    {"command", read_hook_command},    {"timeout", read_hook_timeout},
    {"url", read_webhook_url},         {"headers", read_webhook_headers},
    {"secret_file", read_secret_file}, {"tls", read_webhook_tls}};

bool has(const Node& map, std::string_view key) { return map.find(key) != nullptr; }

std::string webhook_name(const WebhookSpec& webhook) {
  return webhook.request.host + ":" + std::to_string(webhook.request.port);
}

// A timeout is read before it is known whose it is: what is of the other kind goes back to its
// default.
void settle_kind(ActionDraft& d, ActionKind kind) {
  d.spec.kind = kind;
  if (kind != ActionKind::hook) d.spec.hook = {};
  if (kind != ActionKind::webhook) d.spec.webhook = {};
}

// The entry of a list that is a map: hook or webhook.
bool read_map_action(LoadContext& context, const Node& node, ActionDraft& d) {
  if (node.entries.size() != 1 ||
      (node.entries[0].key != "hook" && node.entries[0].key != "webhook")) {
    context.report.error(node.place,
                         "an entry of on_unhealthy that is a map must have one key, hook or "
                         "webhook, as in - hook: { command: [program] }");
    return false;
  }
  const Field f{context, node.entries[0]};
  const bool web = f.name() == "webhook";
  d.spec.kind = web ? ActionKind::webhook : ActionKind::hook;
  d.place = f.value().place;
  if (f.value().is_scalar()) {
    if (web && f.value().text.find("://") != std::string::npos) {
      read_url(f, f.value().text, d.spec.webhook);
      d.spec.name = webhook_name(d.spec.webhook);
    } else {
      d.named = f.value().text;
    }
    return true;
  }
  if (web) {
    read_map(context, f.value(), "webhook", kWebhookKeys, d);
    if (f.value().is_mapping() && !has(f.value(), "url")) {
      f.error("webhook has no url; write url: https://HOST/PATH");
    }
    d.spec.name = webhook_name(d.spec.webhook);
    settle_kind(d, ActionKind::webhook);
  } else {
    read_map(context, f.value(), "hook", kHookKeys, d);
    if (f.value().is_mapping() && !has(f.value(), "command")) {
      f.error("hook has no command; write command: [program, argument, ...]");
    }
    if (!d.spec.hook.command.empty()) d.spec.name = base_name(d.spec.hook.command[0]);
    settle_kind(d, ActionKind::hook);
  }
  return true;
}

constexpr std::size_t kActionsMax = 16;

struct ListReader {
  LoadContext& context;
  UnhealthyDraft out{.word = OnUnhealthy::none, .actions = {}};
  bool has_word = false;

  void take(const Node& item) {
    ActionDraft d;
    d.spec.first = !has_word;
    if (item.is_mapping()) {
      if (read_map_action(context, item, d)) out.actions.push_back(std::move(d));
      return;
    }
    if (item.is_scalar() && item.text == "capture") {
      d.spec.kind = ActionKind::capture;
      d.spec.name = "capture";
      d.place = item.place;
      if (!d.spec.first) {
        context.report.error(item.place, "capture comes too late behind " +
                                             std::string(name_of(out.word)) +
                                             "; write it before that");
      }
      out.actions.push_back(std::move(d));
      return;
    }
    OnUnhealthy word{};
    if (!read_enum(context, "on_unhealthy", item, word)) return;
    if (has_word) {
      context.report.error(item.place, "on_unhealthy says " + std::string(name_of(word)) +
                                           " after " + std::string(name_of(out.word)) +
                                           "; keep one of them");
    }
    out.word = word;
    has_word = true;
  }
};

}  // namespace

bool read_on_unhealthy(LoadContext& context, const Node& node, std::optional<UnhealthyDraft>& out) {
  if (node.is_sequence()) {
    ListReader reader{context};
    if (node.items.size() > kActionsMax) {
      context.report.error(node.place, "on_unhealthy has more than " + std::to_string(kActionsMax) +
                                           " entries; put them into one program");
      return false;
    }
    for (const Node& item : node.items) reader.take(item);
    out = std::move(reader.out);
    return true;
  }
  if (node.is_scalar() && node.text == "capture") {
    ListReader reader{context};
    reader.take(node);
    out = std::move(reader.out);
    return true;
  }
  UnhealthyDraft draft;
  if (!read_enum(context, "on_unhealthy", node, draft.word)) return false;
  out = std::move(draft);
  return true;
}

void read_named_hooks(const Field& f, ServiceDraft& draft) {
  if (!expect_map(f.context, f.value(), "hooks")) return;
  for (const Entry& entry : f.value().entries) {
    ActionDraft d;
    d.place = entry.key_place;
    read_map(f.context, entry.value, "hook " + entry.key, kNamedKeys, d);
    if (!entry.value.is_mapping()) continue;
    const bool web = has(entry.value, "url");
    if (web == has(entry.value, "command")) {
      f.context.report.error(
          entry.key_place,
          "hook " + entry.key + " must have either command: [program, ...] or url: https://...");
      continue;
    }
    for (const char* key : {"headers", "secret_file", "tls"}) {
      if (!web && has(entry.value, key)) {
        f.context.report.warning(entry.value.find(key)->place,
                                 std::string(key) + " has no effect without url; remove it");
      }
    }
    settle_kind(d, web ? ActionKind::webhook : ActionKind::hook);
    d.spec.name = entry.key;
    draft.hooks[entry.key] = std::move(d);
  }
}

std::vector<ActionSpec> resolve_actions(LoadContext& context, ServiceDraft& draft,
                                        const UnhealthyDraft& unhealthy) {
  std::vector<ActionSpec> actions;
  for (const ActionDraft& action : unhealthy.actions) {
    ActionSpec spec = action.spec;
    if (!action.named.empty()) {
      const auto found = draft.hooks.find(action.named);
      if (found == draft.hooks.end()) {
        context.report.error(action.place, "service " + draft.spec.name + " has no hook named " +
                                               in_quotes(action.named) +
                                               "; add it under x-keepwell.hooks");
        continue;
      }
      found->second.used = true;
      spec = found->second.spec;
      spec.first = action.spec.first;
    }
    actions.push_back(std::move(spec));
  }
  return actions;
}

void check_hooks(LoadContext& context, const ServiceDraft& draft) {
  for (const auto& [name, hook] : draft.hooks) {
    if (hook.used) continue;
    context.report.warning(hook.place, "hook " + name +
                                           " has no effect, since no on_unhealthy names it; write "
                                           "on_unhealthy: [hook: " +
                                           name + "] or remove it");
  }
}

}  // namespace keepwell
