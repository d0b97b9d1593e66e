#include "exporters/why.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "config/duration.h"
#include "config/signals.h"
#include "exporters/event_json.h"
#include "exporters/health_json.h"
#include "exporters/time_text.h"
#include "exporters/utf8.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

std::int64_t number_of(const std::string& text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// To the millisecond, which is what people can use.
std::string short_duration(Duration duration) {
  using std::chrono::milliseconds;
  return format_duration(duration < milliseconds(1)
                             ? std::chrono::duration_cast<std::chrono::microseconds>(duration)
                             : std::chrono::duration_cast<milliseconds>(duration));
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string quoted_output(const Event& event) {
  const std::string& output = event.attribute("output");
  return output.empty() ? std::string() : ": " + terminal_text(first_line(output));
}

std::string result_text(const Event& event) {
  const std::string& outcome = event.attribute("outcome");
  const std::string took = short_duration(Duration(number_of(event.attribute("took"))));
  std::string text = event.attribute("check");
  if (outcome == "pass") {
    text += " passed in " + took;
  } else if (outcome == "timeout") {
    text += " timed out after " + took;
  } else if (event.attribute("reason") == "exit") {
    text += " failed with " + event.attribute("exit") + " in " + took;
  } else {
    text += " failed (" + event.attribute("reason") + ") in " + took;
  }
  if (!event.attribute("held").empty()) {
    text += ", held: " + event.attribute("held");
  } else if (outcome != "pass") {
    text += event.attribute("streak") == "0"
                ? std::string(", does not count yet")
                : ", " + event.attribute("streak") + " of " + event.attribute("retries");
  }
  return text + (outcome == "timeout" ? std::string() : quoted_output(event));
}

std::string signal_text(const std::string& number) {
  const std::string name = signal_name(static_cast<int>(number_of(number)));
  return name.empty() ? "signal " + number : name;
}

// "a=1, b=2", for what has no sentence of its own.
std::string plain_text(const Event& event) {
  std::string text = event.action;
  const char* between = ": ";
  for (const auto& [key, value] : event.attributes) {
    text += between + key + "=" + terminal_text(value);
    between = ", ";
  }
  return text;
}

std::string decision_text(const Event& event) {
  const auto of = [&](const char* key) { return terminal_text(event.attribute(key)); };
  if (event.action == "unhealthy") {
    return "unhealthy: " + of("check") + " failed " + of("streak") + " in a row (retries " +
           of("retries") + ")";
  }
  if (event.action == "policy") {
    std::string text = "restart policy " + of("restart") + " asked (" + of("asked") + ", " +
                       of("restarts") + " restarts so far";
    if (!of("left").empty()) text += ", " + of("left") + " left";
    return text + "): " + of("answer");
  }
  if (event.action == "restart") return "decided: restart, " + of("reason") + ": " + of("detail");
  if (event.action == "stop") return "decided: stop: " + of("detail");
  if (event.action == "suppressed") return "not done, " + of("reason") + ": " + of("detail");
  if (event.action == "budget") return "budget: " + of("detail");
  if (event.action == "captured") return "evidence: " + of("detail");
  if (event.action == "backoff") return "waits " + of("wait") + " before the start";
  if (event.action == "healthy") return "healthy again, " + of("after") + " after it began";
  if (event.action == "recovered") return "recovered by itself";
  if (event.action == "rest") return "left as it is";
  if (event.action == "gave_up") return "given up";
  return plain_text(event);
}

std::string event_words(const Event& event) {
  const std::string& action = event.action;
  if (action == "kill") return "sent " + signal_text(event.attribute("signal"));
  if (action == "die") {
    return "ended with " + event.attribute("exitCode") + " after " +
           event.attribute("execDuration") + " s";
  }
  if (action == "start") return "started";
  if (action == "restart") return "restarted";
  if (action == "stop") return "stopped";
  if (action == "oom") return "out of memory";
  return plain_text(event);
}

bool has(const std::vector<Event>& steps, EventKind kind, const char* action) {
  return std::any_of(steps.begin(), steps.end(), [&](const Event& event) {
    return event.kind == kind && event.action == action;
  });
}

// The first of ACTIONS that has no record in this chain.
void look_for(const std::vector<Event>& steps, EventKind kind, const char* action,
              std::vector<std::string>& missing) {
  if (!has(steps, kind, action)) missing.emplace_back(action);
}

std::vector<std::string> missing_of(const std::vector<Event>& steps, const std::string& reason) {
  std::vector<std::string> missing;
  if (reason == "unhealthy") {
    look_for(steps, EventKind::result, "probe", missing);
    look_for(steps, EventKind::decision, "unhealthy", missing);
    look_for(steps, EventKind::event, "kill", missing);
  }
  if (reason != "manual" && reason != "dependency") {
    look_for(steps, EventKind::decision, "policy", missing);
    look_for(steps, EventKind::decision, "backoff", missing);
  }
  if (reason == "manual") look_for(steps, EventKind::decision, "restart", missing);
  const bool failed_to_start = has(steps, EventKind::event, "start_failed");
  if (reason != "manual" && !failed_to_start) look_for(steps, EventKind::event, "die", missing);
  return missing;
}

WhyIncident incident_of(const std::string& id, const std::vector<Event>& steps) {
  WhyIncident incident;
  incident.id = id;
  incident.name = steps.front().name;
  if (steps.front().spec) incident.service = steps.front().spec->name;
  incident.outcome = "open";
  std::string reason;
  for (const Event& event : steps) {
    incident.steps.push_back({event.at, event.kind, step_text(event)});
    if (event.kind == EventKind::decision) {
      if (event.action == "restart") {
        reason = event.attribute("reason");
        incident.detail = event.attribute("detail");
        incident.outcome = "being restarted: " + reason;
      }
      if (event.action == "stop") incident.outcome = "stopped: unhealthy";
      if (event.action == "recovered") incident.outcome = "recovered by itself";
      if (event.action == "rest" && !incident.outcome.starts_with("stopped")) {
        incident.outcome = "left as it is";
      }
      if (event.action == "gave_up") incident.outcome = "given up";
    }
    if (event.kind == EventKind::event && event.action == "start" && !reason.empty()) {
      incident.restarted = true;
      incident.outcome = "restarted: " + reason;
    }
  }
  if (incident.restarted) incident.missing = missing_of(steps, reason);
  return incident;
}

}  // namespace

std::string step_text(const Event& event) {
  switch (event.kind) {
    case EventKind::result:
      return result_text(event);
    case EventKind::decision:
      return decision_text(event);
    case EventKind::event:
      return event_words(event);
    case EventKind::fact:
      return plain_text(event);
  }
  return {};
}

std::vector<WhyIncident> why_incidents(const std::vector<Event>& records) {
  std::map<std::string, std::size_t> places;
  std::vector<std::pair<std::string, std::vector<Event>>> chains;
  for (const Event& event : records) {
    if (event.incident.empty()) continue;
    const auto [place, fresh] = places.try_emplace(event.incident, chains.size());
    if (fresh) chains.emplace_back(event.incident, std::vector<Event>{});
    chains[place->second].second.push_back(event);
  }
  std::vector<WhyIncident> incidents;
  incidents.reserve(chains.size());
  for (const auto& [id, steps] : chains) incidents.push_back(incident_of(id, steps));
  return incidents;
}

std::string why_text(const WhyIncident& incident, int utc_offset_seconds) {
  std::string text = terminal_text(incident.name) + " " + terminal_text(incident.outcome) +
                     "   incident " + terminal_text(incident.id);
  if (!incident.steps.empty()) {
    text += "   " + rfc3339_nano_fixed(incident.steps.front().at, utc_offset_seconds).substr(0, 10);
  }
  text += '\n';
  for (const WhyStep& step : incident.steps) {
    // "2026-11-24T20:00:00.123456789": the time of the day to the millisecond
    text += "  " + rfc3339_nano_fixed(step.at, utc_offset_seconds).substr(11, 12) + "  " +
            step.text + "\n";
  }
  for (const std::string& missing : incident.missing) {
    text += "  (the journal has no record of: " + missing + ")\n";
  }
  return text;
}

std::string why_json(const WhyIncident& incident) {
  ordered_json steps = ordered_json::array();
  for (const WhyStep& step : incident.steps) {
    static constexpr const char* kKinds[] = {"event", "result", "decision", "fact"};
    steps.push_back({{"at", rfc3339_nano(step.at)},
                     {"kind", kKinds[static_cast<std::size_t>(step.kind)]},
                     {"text", step.text}});
  }
  return json_text(ordered_json{{"incident", incident.id},
                                {"container", incident.name},
                                {"service", incident.service},
                                {"outcome", incident.outcome},
                                {"detail", incident.detail},
                                {"restarted", incident.restarted},
                                {"complete", incident.missing.empty()},
                                {"missing", incident.missing},
                                {"steps", std::move(steps)}});
}

}  // namespace keepwell
