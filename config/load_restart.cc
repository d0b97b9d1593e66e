// restart, and how restarts are paced (x-keepwell.restart).
#include <algorithm>
#include <charconv>

#include "config/draft.h"

namespace keepwell {
namespace {

bool read_attempts(LoadContext& context, const Node& node, std::string_view text, int& out) {
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, out);
  if (error == std::errc{} && stop == end && out >= 0) return true;
  context.report.error(node.place, "restart " + in_quotes(node.text) +
                                       " has a bad number of tries; write on-failure:3");
  return false;
}

void read_delay(const Field& f, RestartSpec& r) {
  read_duration(f.context, "restart.delay", f.value(), r.delay);
}
void read_factor(const Field& f, RestartSpec& r) {
  read_number(f.context, "restart.factor", f.value(), 1, 1000, r.factor);
}
void read_max_delay(const Field& f, RestartSpec& r) {
  read_duration(f.context, "restart.max_delay", f.value(), r.max_delay);
}
void read_jitter(const Field& f, RestartSpec& r) {
  read_share(f.context, "restart.jitter", f.value(), r.jitter);
}
void read_reset_after(const Field& f, RestartSpec& r) {
  read_duration(f.context, "restart.reset_after", f.value(), r.reset_after);
}
void read_count(const Field& f, RestartSpec& r) {
  std::int64_t count = 0;
  if (read_integer(f.context, "restart.limit.count", f.value(), 1, 1'000'000, count)) {
    r.limit_count = static_cast<int>(count);
  }
}
void read_window(const Field& f, RestartSpec& r) {
  read_duration(f.context, "restart.limit.window", f.value(), r.limit_window);
}

constexpr Key<RestartSpec> kLimitKeys[] = {{"count", read_count}, {"window", read_window}};

void read_limit(const Field& f, RestartSpec& r) {
  read_map(f.context, f.value(), "restart.limit", kLimitKeys, r);
  if (f.value().is_mapping() && f.value().find("count") == nullptr) {
    f.error("restart.limit has no count; write limit: { count: 5, window: 10m }");
  }
}

void read_policy(const Field& f, RestartSpec& r) { read_restart_policy(f.context, f.value(), r); }

constexpr Key<RestartSpec> kTuningKeys[] = {
    {"delay", read_delay},   {"factor", read_factor},           {"max_delay", read_max_delay},
    {"jitter", read_jitter}, {"reset_after", read_reset_after}, {"limit", read_limit}};

constexpr Key<RestartSpec> kDefaultKeys[] = {
    {"policy", read_policy},       {"delay", read_delay},   {"factor", read_factor},
    {"max_delay", read_max_delay}, {"jitter", read_jitter}, {"reset_after", read_reset_after},
    {"limit", read_limit}};

// ---- deploy.restart_policy: at most max_attempts restarts in a sliding window

struct DeployRestart {
  RestartSpec spec;
  bool delay_given = false;
  std::optional<Place> window_place;
};

void read_condition(const Field& f, DeployRestart& d) {
  constexpr std::string_view kConditions[] = {"none", "on-failure", "any"};
  constexpr RestartPolicy kPolicies[] = {RestartPolicy::no, RestartPolicy::on_failure,
                                         RestartPolicy::always};
  std::size_t which = 0;
  if (read_choice(f.context, "restart_policy.condition", f.value(), kConditions, which)) {
    d.spec.policy = kPolicies[which];
  }
}
void read_deploy_delay(const Field& f, DeployRestart& d) {
  if (read_duration(f.context, "restart_policy.delay", f.value(), d.spec.delay)) {
    d.delay_given = true;
  }
}
void read_max_attempts(const Field& f, DeployRestart& d) {
  std::int64_t count = 0;
  if (read_integer(f.context, "restart_policy.max_attempts", f.value(), 0, 1'000'000, count)) {
    d.spec.limit_count = static_cast<int>(count);
  }
}
void read_deploy_window(const Field& f, DeployRestart& d) {
  d.window_place = f.entry.key_place;
  read_duration(f.context, "restart_policy.window", f.value(), d.spec.limit_window);
}

constexpr Key<DeployRestart> kDeployRestartKeys[] = {{"condition", read_condition},
                                                     {"delay", read_deploy_delay},
                                                     {"max_attempts", read_max_attempts},
                                                     {"window", read_deploy_window}};

void check_delays(LoadContext& context, const Node& node, const RestartSpec& r) {
  if (r.max_delay < r.delay) {
    context.report.error(node.place, "restart.max_delay is shorter than restart.delay; swap them");
  }
}

}  // namespace

bool read_restart_policy(LoadContext& context, const Node& node, RestartSpec& restart) {
  if (node.is_scalar() && node.plain) {
    // What YAML 1.1 readers make of an unquoted no.
    if (node.text == "false") {
      restart.policy = RestartPolicy::no;
      return true;
    }
    if (node.text == "true" || node.text == "yes" || node.text == "on") {
      context.report.error(node.place, "restart " + in_quotes(node.text) +
                                           " is not a policy; write always or unless-stopped");
      return false;
    }
  }
  constexpr std::string_view kOnFailure = "on-failure:";
  if (node.is_scalar() && node.text.rfind(kOnFailure, 0) == 0) {
    int tries = 0;
    std::string_view number = std::string_view(node.text).substr(kOnFailure.size());
    if (!read_attempts(context, node, number, tries)) return false;
    restart.policy = RestartPolicy::on_failure;
    restart.max_attempts = tries;
    return true;
  }
  if (!read_enum(context, "restart", node, restart.policy)) return false;
  restart.max_attempts = 0;
  return true;
}

void read_restart(const Field& f, ServiceDraft& d) {
  read_restart_policy(f.context, f.value(), d.spec.restart);
}

void read_deploy_restart_policy(LoadContext& context, const Node& node, ServiceDraft& draft) {
  DeployRestart d;
  d.spec = draft.spec.restart;
  d.spec.policy = RestartPolicy::always;
  d.spec.max_attempts = 0;
  read_map(context, node, "deploy.restart_policy", kDeployRestartKeys, d);
  if (draft.has("restart")) {
    context.report.warning(draft.place_of("restart"),
                           "restart has no effect beside deploy.restart_policy; remove one of "
                           "them");
  }
  if (d.window_place && d.spec.limit_count == 0) {
    context.report.warning(*d.window_place,
                           "restart_policy.window has no effect without max_attempts; add that or "
                           "remove it");
    d.spec.limit_window = Duration{0};
  }
  if (d.delay_given) {  // the same each time
    d.spec.factor = 1;
    d.spec.max_delay = std::max(d.spec.max_delay, d.spec.delay);
  }
  draft.spec.restart = d.spec;
}

void read_restart_tuning(LoadContext& context, const Node& node, RestartSpec& restart) {
  read_map(context, node, "x-keepwell.restart", kTuningKeys, restart);
  check_delays(context, node, restart);
}

void read_default_restart(LoadContext& context, const Node& node, RestartSpec& restart) {
  if (!node.is_mapping()) {
    read_restart_policy(context, node, restart);
    return;
  }
  read_map(context, node, "x-keepwell.defaults.restart", kDefaultKeys, restart);
  check_delays(context, node, restart);
}

}  // namespace keepwell
