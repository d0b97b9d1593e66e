#include "agent/status_record.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "config/spec_json.h"

namespace keepwell {

namespace {

using nlohmann::json;

template <class T>
struct IsTime : std::false_type {};
template <class C>
struct IsTime<std::chrono::time_point<C, Duration>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
concept List = requires(T list) {
  list.begin();
  typename T::value_type;
} && !std::is_same_v<T, std::string>;

// A WRITER and a READER, each called as visit(name, field) by the lists of fields below. The writer
// makes text at once: a record is written for every probe, and a tree of values would cost more
// than all else that the agent does for one.
class Writer {
 public:
  explicit Writer(std::string& text) : text_(text) { text_ += '{'; }
  ~Writer() {
    if (text_.back() == ',') text_.pop_back();
    text_ += '}';
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  template <class T>
  void operator()(const char* name, const T& value) {
    key(name);
    append(text_, value);
    text_ += ',';
  }
  template <class T>
  void operator()(const char* name, const std::optional<T>& value) {
    if (value) (*this)(name, *value);
  }

  // The next value is the caller's to append to the text, and a comma.
  void key(std::string_view name) {
    append(text_, name);
    text_ += ':';
  }

  // What is no UTF-8 becomes U+FFFD, as it would in inspect.
  static void append(std::string& text, std::string_view value);
  template <class T>
  static void append(std::string& text, const T& value);

 private:
  std::string& text_;
};

class Reader {
 public:
  explicit Reader(const json& object) : object_(object) {}

  template <class T>
  void operator()(const char* name, T& value) {
    auto found = object_.find(name);
    if (found == object_.end()) return;
    if (!from_json(*found, value) && wrong_.empty()) wrong_ = name;
  }
  // The first field whose value has the wrong type; empty: none.
  const std::string& wrong() const { return wrong_; }

 private:
  template <class T>
  static bool from_json(const json& text, T& value);

  const json& object_;
  std::string wrong_;
};

template <class V, class S>
void visit_result(V&& visit, S& result) {
  visit("outcome", result.outcome);
  visit("reason", result.reason);
  visit("exit_code", result.exit_code);
  visit("started", result.started);
  visit("ended", result.ended);
  visit("started_wall", result.started_wall);
  visit("ended_wall", result.ended_wall);
  visit("output", result.output);
  visit("output_bytes", result.output_bytes);
  visit("cpu", result.cpu);
  visit("max_rss_bytes", result.max_rss_bytes);
  visit("start_latency", result.start_latency);
  visit("pressure", result.pressure);
  visit("held", result.held);
}

template <class V, class S>
void visit_hold(V&& visit, S& hold) {
  visit("reason", hold.reason);
  visit("since", hold.since);
  visit("until", hold.until);
}

template <class V, class S>
void visit_durations(V&& visit, S& stats) {
  visit("buckets", stats.buckets);
  visit("count", stats.count);
  visit("sum_seconds", stats.sum_seconds);
}

template <class V, class S>
void visit_check(V&& visit, S& check) {
  visit("status", check.status);
  visit("failing_streak", check.failing_streak);
  visit("success_streak", check.success_streak);
  visit("log", check.log);
  visit("paused_by_hand", check.paused_by_hand);
  visit("actions_done", check.actions_done);
  visit("next_probe", check.next_probe);
  visit("last_success", check.last_success);
  visit("flap_ratio", check.flap_ratio);
  visit("recent", check.recent);
  visit("flapping", check.flapping);
  visit("held_since", check.held_since);
  visit("held_total", check.held_total);
  visit("probes_total", check.probes_total);
  visit("failures_total", check.failures_total);
  visit("transitions_to_healthy_total", check.transitions_to_healthy_total);
  visit("transitions_to_unhealthy_total", check.transitions_to_unhealthy_total);
  visit("output_truncated_total", check.output_truncated_total);
  visit("output_bytes_total", check.output_bytes_total);
  visit("voided_total", check.voided_total);
  visit("cpu_total", check.cpu_total);
  visit("max_rss_bytes", check.max_rss_bytes);
  visit("orphans_total", check.orphans_total);
  visit("last_start_latency", check.last_start_latency);
  visit("starting_results", check.starting_results);
  visit("starting_long_total", check.starting_long_total);
  visit("duration", check.duration);
}

template <class V, class S>
void visit_status(V&& visit, S& status) {
  visit("id", status.id);
  visit("name", status.name);
  visit("project", status.project);
  visit("replica", status.replica);
  visit("state", status.state);
  visit("run", status.run);
  visit("pid", status.pid);
  visit("pid_start_ticks", status.pid_start_ticks);
  visit("exit_code", status.exit_code);
  visit("exit_known", status.exit_known);
  visit("oom_killed", status.oom_killed);
  visit("error", status.error);
  visit("created", status.created);
  visit("started", status.started);
  visit("finished", status.finished);
  visit("started_mono", status.started_mono);
  visit("restart_count", status.restart_count);
  visit("stopped_by_hand", status.stopped_by_hand);
  visit("backoff", status.backoff);
  visit("next_start", status.next_start);
  visit("next_start_wall", status.next_start_wall);
  visit("stop_cause", status.stop_cause);
  visit("stop_deadline", status.stop_deadline);
  visit("by_kill", status.by_kill);
  visit("stop_told", status.stop_told);
  visit("killed", status.killed);
  visit("start_at_next_run", status.start_at_next_run);
  visit("restart_event_due", status.restart_event_due);
  visit("dependents_due", status.dependents_due);
  visit("last_restart_reason", status.last_restart_reason);
  visit("last_restart", status.last_restart);
  visit("hold", status.hold);
  visit("hold_until", status.hold_until);
  visit("budget_paid", status.budget_paid);
  visit("budget_times", status.budget_times);
  visit("last_restart_detail", status.last_restart_detail);
  visit("restart_limit_remaining", status.restart_limit_remaining);
  visit("starts_total", status.starts_total);
  visit("restarts_total", status.restarts_total);
  visit("suppressed_total", status.suppressed_total);
  visit("stop_kills_total", status.stop_kills_total);
  visit("start_to_healthy", status.start_to_healthy);
  visit("stop_duration", status.stop_duration);
}

// What changes with every probe, beside the checks.
template <class V, class S>
void visit_live(V&& visit, S& status) {
  visit("health", status.health);
  visit("healthy_since", status.healthy_since);
  visit("restart_times", status.restart_times);
  visit("incident", status.incident);
  visit("recovery", status.recovery);
  visit("incident_since", status.incident_since);
  visit("suppressed_now", status.suppressed_now);
  visit("events_told", status.events_told);
}

// The highest enumerator of each enum, so that a number from a newer keepwell is refused.
constexpr int last_of(ServiceState) { return static_cast<int>(ServiceState::failed); }
constexpr int last_of(StopCause) { return static_cast<int>(StopCause::shutdown); }
constexpr int last_of(Health) { return static_cast<int>(Health::unhealthy); }
constexpr int last_of(RestartReason) { return static_cast<int>(RestartReason::watchdog); }
constexpr int last_of(ProbeOutcome) { return static_cast<int>(ProbeOutcome::voided); }
constexpr int last_of(FailureReason) { return static_cast<int>(FailureReason::canceled); }

void Writer::append(std::string& text, std::string_view value) {
  const bool plain = std::all_of(value.begin(), value.end(), [](char c) {
    return c >= ' ' && c < 127 && c != '"' && c != '\\';
  });
  if (plain) {
    text.append(1, '"').append(value).append(1, '"');
  } else {
    text += json(value).dump(-1, ' ', false, json::error_handler_t::replace);
  }
}

template <class T>
void Writer::append(std::string& text, const T& value) {
  if constexpr (std::is_enum_v<T>) {
    append(text, static_cast<int>(value));
  } else if constexpr (std::is_same_v<T, Duration>) {
    append(text, value.count());
  } else if constexpr (IsTime<T>::value) {
    append(text, value.time_since_epoch().count());
  } else if constexpr (std::is_same_v<T, ProbeResult>) {
    Writer writer(text);
    visit_result(writer, value);
  } else if constexpr (std::is_same_v<T, DurationStats>) {
    Writer writer(text);
    visit_durations(writer, value);
  } else if constexpr (std::is_same_v<T, HoldStatus>) {
    Writer writer(text);
    visit_hold(writer, value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    append(text, std::string_view(value));
  } else if constexpr (List<T>) {
    text += '[';
    for (const auto& element : value) {
      append(text, element);
      text += ',';
    }
    if (text.back() == ',') text.pop_back();
    text += ']';
  } else if constexpr (std::is_same_v<T, bool>) {
    text += value ? "true" : "false";
  } else {
    static_assert(std::is_arithmetic_v<T>);
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(value)) {
        text += "0.0";
        return;
      }
    }
    char digits[32];
    const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, value);
    text.append(digits, end.ptr);
  }
}

template <class T>
bool Reader::from_json(const json& text, T& value) {
  if constexpr (std::is_enum_v<T>) {
    if (!text.is_number_unsigned() || text.get<std::uint64_t>() > last_of(T{})) return false;
    value = static_cast<T>(text.get<int>());
    return true;
  } else if constexpr (std::is_same_v<T, Duration>) {
    if (!text.is_number_integer()) return false;
    value = Duration(text.get<std::int64_t>());
    return true;
  } else if constexpr (IsTime<T>::value) {
    if (!text.is_number_integer()) return false;
    value = T(Duration(text.get<std::int64_t>()));
    return true;
  } else if constexpr (IsOptional<T>::value) {
    typename T::value_type inner{};
    if (!from_json(text, inner)) return false;
    value = std::move(inner);
    return true;
  } else if constexpr (std::is_same_v<T, ProbeResult> || std::is_same_v<T, DurationStats> ||
                       std::is_same_v<T, HoldStatus>) {
    if (!text.is_object()) return false;
    Reader reader(text);
    if constexpr (std::is_same_v<T, ProbeResult>) visit_result(reader, value);
    if constexpr (std::is_same_v<T, DurationStats>) visit_durations(reader, value);
    if constexpr (std::is_same_v<T, HoldStatus>) visit_hold(reader, value);
    return reader.wrong().empty();
  } else if constexpr (List<T>) {
    if (!text.is_array()) return false;
    if constexpr (requires { value.clear(); }) {
      value.clear();
      for (const json& element : text) {
        if (!from_json(element, value.emplace_back())) return false;
      }
    } else {
      // An array whose size grew since: the rest stays zero.
      for (std::size_t i = 0; i < text.size() && i < value.size(); ++i) {
        if (!from_json(text[i], value[i])) return false;
      }
    }
    return true;
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!text.is_string()) return false;
    value = text.get<std::string>();
    return true;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!text.is_boolean()) return false;
    value = text.get<bool>();
    return true;
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!text.is_number()) return false;
    value = text.get<T>();
    return true;
  } else {
    static_assert(std::is_integral_v<T>);
    if (!text.is_number_integer()) return false;
    value = text.get<T>();
    return true;
  }
}

// The live part as the value of an object that is under way.
void append_live(std::string& text, const ContainerStatus& status, bool with_outputs) {
  Writer writer(text);
  visit_live(writer, status);
  writer("run", status.run);
  writer.key("checks");
  {
    Writer checks(text);
    for (const CheckStatus& check : status.checks) {
      checks.key(check.spec->name);
      CheckStatus without;
      if (!with_outputs) {
        without = check;
        for (ProbeResult& result : without.log) result.output.clear();
      }
      {
        Writer one(text);
        visit_check(one, with_outputs ? check : without);
      }
      text += ',';
    }
  }
  text += ',';
}

Status apply_live(const json& object, ContainerStatus& status) {
  ContainerStatus changed = status;
  Reader reader(object);
  visit_live(reader, changed);
  if (!reader.wrong().empty()) {
    return fail(Errc::invalid, "cannot read the live record: its " + reader.wrong() + " is wrong");
  }
  auto checks = object.find("checks");
  if (checks == object.end() || !checks->is_object()) {
    return fail(Errc::invalid, "cannot read the live record: it has no checks");
  }
  for (CheckStatus& check : changed.checks) {
    auto stored = checks->find(check.spec->name);
    if (stored == checks->end() || !stored->is_object()) continue;
    Reader check_reader(*stored);
    visit_check(check_reader, check);
    if (!check_reader.wrong().empty()) {
      return fail(Errc::invalid, "cannot read the live record: the " + check_reader.wrong() +
                                     " of check " + check.spec->name + " is wrong");
    }
  }
  status = std::move(changed);
  return {};
}

}  // namespace

std::string encode_status(const StatusRecord& record) {
  ProjectSpec carrier;
  carrier.services.push_back(*record.status.spec);
  std::string text;
  {
    Writer writer(text);
    visit_status(writer, record.status);
    writer("boot_id", record.boot_id);
    writer("live_sequence", record.live_sequence);
    writer("spec", project_to_json(carrier));
    writer.key("live");
    append_live(text, record.status, true);
    text += ',';
  }
  return text;
}

Result<StatusRecord> decode_status(std::string_view text) {
  json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return fail(Errc::invalid, "cannot read the record: it is not JSON");
  StatusRecord record;
  Reader reader(object);
  visit_status(reader, record.status);
  reader("boot_id", record.boot_id);
  reader("live_sequence", record.live_sequence);
  if (!reader.wrong().empty()) {
    return fail(Errc::invalid, "cannot read the record: its " + reader.wrong() + " is wrong");
  }
  std::string spec_text;
  reader("spec", spec_text);
  if (record.status.id.empty() || spec_text.empty()) {
    return fail(Errc::invalid, "cannot read the record: it has no id or no spec");
  }
  Result<ProjectSpec> carrier = project_from_json(spec_text);
  if (!carrier) return fail(carrier.error().with("cannot read the record"));
  if (carrier->services.size() != 1) {
    return fail(Errc::invalid, "cannot read the record: its spec is not one service");
  }
  auto shared = std::make_shared<const ServiceSpec>(std::move(carrier->services[0]));
  record.status.spec = shared;
  for (const CheckSpec& check : shared->checks) {
    record.status.checks.emplace_back().spec = std::shared_ptr<const CheckSpec>(shared, &check);
  }
  if (object.contains("live")) {
    if (Status applied = apply_live(object["live"], record.status); !applied) {
      return fail(applied.error());
    }
  }
  return record;
}

std::string encode_live(const ContainerStatus& status, std::size_t limit) {
  std::string text;
  text.reserve(4096);
  append_live(text, status, true);
  if (text.size() <= limit) return text;
  text.clear();
  append_live(text, status, false);
  return text;
}

Status decode_live(std::string_view text, ContainerStatus& status) {
  json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return fail(Errc::invalid, "cannot read the live record: it is no JSON");
  std::uint64_t run = 0;
  Reader reader(object);
  reader("run", run);
  if (run != status.run) {
    return fail(Errc::conflict, "cannot use the live record: it is of another run");
  }
  return apply_live(object, status);
}

}  // namespace keepwell
