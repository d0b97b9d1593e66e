// healthcheck, and the further checks of x-keepwell.checks. Both have the same keys for their
// timing; a healthcheck keeps ours in a nested x-keepwell, a check of ours has them beside.
#include <limits>

#include "config/draft.h"
#include "config/duration.h"

namespace keepwell {
namespace {

constexpr Duration kShortest = std::chrono::milliseconds(1);

// A duration for which Docker reads 0 as "the default" and refuses less than 1 ms.
void read_timing(const Field& f, Duration& out, bool& given) {
  Duration value{};
  if (!read_duration(f.context, f.name(), f.value(), value)) return;
  if (value.count() == 0) {
    f.warning(f.name() + " 0 means the default, " + format_duration(out) +
              "; write that or remove it");
  } else if (value < kShortest) {
    f.error(f.name() + " " + in_quotes(f.value().text) + " is shorter than 1ms; write 1ms or more");
  } else {
    out = value;
    given = true;
  }
}

void read_interval(const Field& f, CheckDraft& d) {
  read_timing(f, d.spec.interval, d.given.interval);
}
void read_timeout(const Field& f, CheckDraft& d) {
  read_timing(f, d.spec.timeout, d.given.timeout);
}

void read_start_interval(const Field& f, CheckDraft& d) {
  d.start_interval_place = f.entry.key_place;
  read_timing(f, d.spec.start_interval, d.given.start_interval);
}

void read_start_period(const Field& f, CheckDraft& d) {
  Duration value{};
  if (!read_duration(f.context, "start_period", f.value(), value)) return;
  if (value.count() != 0 && value < kShortest) {
    f.error("start_period " + in_quotes(f.value().text) +
            " is shorter than 1ms; write 1ms or more");
    return;
  }
  d.spec.start_period = value;
  d.given.start_period = value.count() != 0;
}

void read_retries(const Field& f, CheckDraft& d) {
  std::int64_t value = 0;
  if (!read_integer(f.context, "retries", f.value(), 0, std::numeric_limits<int>::max(), value)) {
    return;
  }
  if (value == 0) {
    f.warning("retries 0 means the default, " + std::to_string(d.spec.retries) +
              "; write that or remove it");
    return;
  }
  d.spec.retries = static_cast<int>(value);
  d.retries_given = d.given.retries = true;
}

void read_disable(const Field& f, CheckDraft& d) {
  bool disable = false;
  if (read_bool(f.context, "disable", f.value(), disable) && disable) d.disabled = true;
}

void read_test_list(const Field& f, CheckDraft& d) {
  std::vector<std::string> words;
  if (!read_text_list(f.context, "test", f.value(), words)) return;
  if (words.empty()) {
    f.error("test is empty; write [\"CMD\", program, ...], [\"CMD-SHELL\", text] or [\"NONE\"]");
    return;
  }
  const std::string& kind = words.front();
  if (kind == "NONE") {
    if (words.size() > 1) f.error("nothing may follow NONE in test; remove it");
    d.disabled = true;
    return;
  }
  if (kind != "CMD" && kind != "CMD-SHELL") {
    f.error("test begins with " + in_quotes(kind) +
            "; its first item must be CMD, CMD-SHELL or NONE, as in [\"CMD\", \"" + "true\"]");
    return;
  }
  if (words.size() < 2 || words[1].empty()) {
    f.error("test has no command after " + kind + "; write [\"" + kind + "\", \"true\"]");
    return;
  }
  if (kind == "CMD-SHELL" && words.size() > 2) {
    f.error(
        "test has more than one text after CMD-SHELL; the shell gets one, so put all of it "
        "into that");
    return;
  }
  d.spec.test = std::move(words);
}

void read_test(const Field& f, CheckDraft& d) {
  if (!f.value().is_scalar()) {
    read_test_list(f, d);
    return;
  }
  if (f.value().text.find_first_not_of(" \t\n") == std::string::npos) {
    f.error("test is empty; write a command, or disable: true");
    return;
  }
  d.spec.test = {"CMD-SHELL", f.value().text};
}

void read_check_on_unhealthy(const Field& f, CheckDraft& d) {
  read_on_unhealthy(f.context, f.value(), d.on_unhealthy);
}

void read_max_starting(const Field& f, CheckDraft& d) {
  Duration value{};
  if (!read_duration(f.context, "max_starting", f.value(), value)) return;
  if (value < kShortest) {
    f.error("max_starting must be longer than 0; remove it for no limit");
    return;
  }
  d.spec.max_starting = value;
}

void read_success_threshold(const Field& f, CheckDraft& d) {
  std::int64_t value = 0;
  if (read_integer(f.context, "success_threshold", f.value(), 1, 1'000'000, value)) {
    d.spec.success_threshold = static_cast<int>(value);
  }
}

void read_initial_delay(const Field& f, CheckDraft& d) {
  read_duration(f.context, "initial_delay", f.value(), d.spec.initial_delay);
}

void read_check_jitter(const Field& f, CheckDraft& d) {
  read_share(f.context, "jitter", f.value(), d.spec.jitter);
}

void read_mode(const Field& f, CheckDraft& d) {
  constexpr std::string_view kModes[] = {"act", "observe"};
  std::size_t which = 0;
  if (read_choice(f.context, "mode", f.value(), kModes, which)) d.spec.observe = which == 1;
}

void read_role(const Field& f, CheckDraft& d) {
  read_enum(f.context, "role", f.value(), d.spec.role);
}

constexpr Key<CheckDraft> kOwnKeys[] = {
    {"on_unhealthy", read_check_on_unhealthy},
    {"max_starting", read_max_starting},
    {"success_threshold", read_success_threshold},
    {"initial_delay", read_initial_delay},
    {"jitter", read_check_jitter},
    {"mode", read_mode},
    {"role", read_role},
    {"http", read_http_check},
    {"tcp", read_tcp_check},
    {"grpc", read_grpc_check},
};

void read_own(const Field& f, CheckDraft& d) {
  read_map(f.context, f.value(), "healthcheck.x-keepwell", kOwnKeys, d);
}

constexpr std::string_view kOneTarget = "every check has a target of its own";

constexpr Key<CheckDraft> kDefaultOwnKeys[] = {
    {"on_unhealthy", read_check_on_unhealthy},
    {"max_starting", read_max_starting},
    {"success_threshold", read_success_threshold},
    {"initial_delay", read_initial_delay},
    {"jitter", read_check_jitter},
    {"mode", read_mode},
    {"role", read_role},
    {"http", nullptr, kOneTarget},
    {"tcp", nullptr, kOneTarget},
    {"grpc", nullptr, kOneTarget},
};

void read_default_own(const Field& f, CheckDraft& d) {
  read_map(f.context, f.value(), "x-keepwell.defaults.healthcheck.x-keepwell", kDefaultOwnKeys, d);
}

constexpr Key<CheckDraft> kTimingKeys[] = {
    {"test", read_test},
    {"interval", read_interval},
    {"timeout", read_timeout},
    {"retries", read_retries},
    {"start_period", read_start_period},
    {"start_interval", read_start_interval},
};
constexpr Key<CheckDraft> kNestingKeys[] = {{"disable", read_disable}, {"x-keepwell", read_own}};
constexpr auto kHealthcheckKeys = joined(kTimingKeys, kNestingKeys);
// A check of ours has beside its timing what a healthcheck keeps in x-keepwell.
constexpr auto kCheckKeys = joined(kTimingKeys, kOwnKeys);

constexpr Key<CheckDraft> kDefaultKeys[] = {
    {"interval", read_interval},
    {"timeout", read_timeout},
    {"retries", read_retries},
    {"start_period", read_start_period},
    {"start_interval", read_start_interval},
    {"x-keepwell", read_default_own},
    {"test", nullptr, "every service has a test of its own"},
    {"disable", nullptr, "leave out healthcheck where a service needs none"},
};

// A check that has what the file's defaults say. Their mistakes were reported when the defaults
// were checked; the report drops what is reported again.
CheckDraft from_defaults(LoadContext& context, const Place& place) {
  CheckDraft d;
  if (context.defaults && context.defaults->healthcheck != nullptr) {
    read_map(context, *context.defaults->healthcheck, "x-keepwell.defaults.healthcheck",
             kDefaultKeys, d);
  }
  d.start_interval_place.reset();
  d.given = {};
  d.place = place;
  return d;
}

// What the check is: a command, or one of http, tcp and grpc. MAP is where its keys stand, OWN
// where http, tcp and grpc may stand. TEST_MAY_LACK: an image may have it.
void check_target(LoadContext& context, const Node& map, const Node* own, bool test_may_lack,
                  CheckDraft& d) {
  const Node* test = map.find("test");
  std::size_t kinds = 0;
  for (std::string_view kind : {"http", "tcp", "grpc"}) {
    if (own != nullptr && own->find(kind) != nullptr) ++kinds;
  }
  if (kinds > 1) {
    context.report.error(own->place, "http, tcp and grpc are different checks; keep one of them");
  }
  d.given.test = kinds > 0 || test != nullptr;
  if (!d.given.test && !test_may_lack) {
    bool is_healthcheck = d.spec.name == kHealthcheckName;
    context.report.error(d.place, (is_healthcheck ? "healthcheck" : "check " + d.spec.name) +
                                      " has no test; write test: [\"CMD\", program, ...]");
  }
  if (d.net_place && test != nullptr) {
    context.report.warning(
        test->place,
        "test has no effect beside " + std::string(name_of(d.spec.kind)) + "; remove one of them");
  }
}

// What the service says of all its checks.
void settle(LoadContext& context, CheckDraft& d, ServiceDraft& draft) {
  if (d.spec.kind != ProbeKind::exec) d.spec.test.clear();
  const std::optional<UnhealthyDraft>& unhealthy =
      d.on_unhealthy ? d.on_unhealthy : draft.on_unhealthy;
  if (!unhealthy) return;
  d.spec.on_unhealthy = unhealthy->word;
  d.spec.actions = resolve_actions(context, draft, *unhealthy);
}

void check_draft(LoadContext& context, const CheckDraft& d) {
  if (d.start_interval_place && d.spec.start_period.count() == 0) {
    context.report.warning(*d.start_interval_place,
                           "start_interval has no effect without start_period; add start_period or "
                           "remove it");
  }
}

}  // namespace

void check_default_healthcheck(LoadContext& context, const Node& node) {
  CheckDraft d;
  read_map(context, node, "x-keepwell.defaults.healthcheck", kDefaultKeys, d);
}

void read_healthcheck(const Field& f, ServiceDraft& draft) {
  CheckDraft d = from_defaults(f.context, f.entry.key_place);
  read_map(f.context, f.value(), "healthcheck", kHealthcheckKeys, d);
  if (!f.value().is_mapping()) return;
  if (d.disabled) {
    for (const Entry& entry : f.value().entries) {
      if (entry.key == "disable" || entry.key == "test") continue;
      f.context.report.warning(entry.key_place, entry.key +
                                                    " has no effect, since the healthcheck is "
                                                    "switched off; remove it");
    }
  }
  draft.healthcheck = std::move(d);
}

void read_checks(const Field& f, ServiceDraft& draft) {
  if (!expect_map(f.context, f.value(), "checks")) return;
  for (const Entry& entry : f.value().entries) {
    CheckDraft d = from_defaults(f.context, entry.key_place);
    d.spec.name = entry.key;
    if (entry.key == kHealthcheckName || entry.key.empty() ||
        entry.key.find_first_of(" \t\n/\"") != std::string::npos) {
      f.context.report.error(entry.key_place, "check name " + in_quotes(entry.key) +
                                                  " cannot be used; choose another");
    }
    read_map(f.context, entry.value, "check " + entry.key, kCheckKeys, d);
    if (entry.value.is_mapping()) check_target(f.context, entry.value, &entry.value, false, d);
    if (d.disabled) {
      f.context.report.error(entry.key_place,
                             "check " + entry.key + " tests NONE; remove the check instead");
    }
    check_draft(f.context, d);
    draft.checks.push_back(std::move(d));
  }
}

namespace {

// What the image's HEALTHCHECK will be merged under.
void prepare_image_use(LoadContext& context, ServiceDraft& draft) {
  CheckDraft d =
      draft.healthcheck ? *draft.healthcheck : from_defaults(context, draft.entry->key_place);
  settle(context, d, draft);
  ImageUse& use = draft.image_use.emplace();
  use.healthcheck_given = draft.healthcheck.has_value();
  use.healthcheck = std::move(d.spec);
  use.given = d.given;
  use.retries_given = d.retries_given;
  for (const CheckDraft& check : draft.checks) {
    use.other_retries_given = use.other_retries_given && check.retries_given;
  }
}

}  // namespace

void finish_checks(LoadContext& context, ServiceDraft& draft) {
  bool image = draft.runs_image();
  const Node* own = draft.entry->value.find(kHealthcheckName);
  if (draft.healthcheck && own != nullptr) {
    if (!draft.healthcheck->disabled) {
      check_target(context, *own, own->find("x-keepwell"), image, *draft.healthcheck);
    }
    if (!image) check_draft(context, *draft.healthcheck);
  }
  if (image) prepare_image_use(context, draft);
  auto add = [&](CheckDraft& d) {
    settle(context, d, draft);
    draft.spec.checks.push_back(std::move(d.spec));
  };
  draft.spec.retries_given = true;
  auto look = [&draft](const CheckDraft& d) {
    draft.spec.retries_given = draft.spec.retries_given && d.retries_given;
  };
  if (draft.healthcheck && draft.healthcheck->disabled) draft.spec.healthcheck_disabled = true;
  if (draft.healthcheck && !draft.healthcheck->disabled && draft.healthcheck->given.test) {
    look(*draft.healthcheck);
    add(*draft.healthcheck);
  }
  for (CheckDraft& d : draft.checks) {
    look(d);
    add(d);
  }
  if (draft.spec.checks.empty()) draft.spec.retries_given = false;
  check_hooks(context, draft);
}

}  // namespace keepwell
