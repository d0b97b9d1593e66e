#include "agent/simulation/timeline.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "config/duration.h"
#include "exporters/health_json.h"
#include "exporters/time_text.h"
#include "exporters/utf8.h"
#include "exporters/why.h"

namespace keepwell {
namespace {

constexpr const char* kKindNames[] = {"event", "result", "decision", "fact"};

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

// What was decided, without times and numbers that depend on them.
std::string key_of(const Event& event) {
  std::string key = event.action;
  if (!event.attribute("reason").empty()) key += " " + event.attribute("reason");
  return key;
}

std::map<std::string, std::vector<const Event*>> by_container(const std::vector<Event>& events) {
  std::map<std::string, std::vector<const Event*>> all;
  for (const Event& event : events) {
    if (is_decision(event)) all[event.name].push_back(&event);
  }
  return all;
}

}  // namespace

std::string Timeline::time_of(WallTime at) const {
  if (!options_.relative) return rfc3339_nano_fixed(at).substr(0, 23);
  const double seconds = std::chrono::duration<double>(at - options_.begin).count();
  char text[32];
  std::snprintf(text, sizeof text, "%12.3f", seconds);
  return text;
}

std::string Timeline::line(const Event& event) const {
  if (event.kind == EventKind::result && !options_.results) return {};
  if (event.kind == EventKind::fact && event.action == "configure") return {};
  if (event.probe || event.action == "create") return {};
  if (options_.json) {
    nlohmann::ordered_json attributes = nlohmann::ordered_json::object();
    for (const auto& [key, value] : event.attributes) attributes[key] = value;
    return json_text(nlohmann::ordered_json{
               {"t", std::chrono::duration<double>(event.at - options_.begin).count()},
               {"at", rfc3339_nano(event.at)},
               {"container", event.name},
               {"kind", kKindNames[static_cast<std::size_t>(event.kind)]},
               {"action", event.action},
               {"text", step_text(event)},
               {"incident", event.incident},
               {"attributes", std::move(attributes)}}) +
           "\n";
  }
  // Decisions stand out; what a probe found is the background.
  const char* mark = event.kind == EventKind::decision ? "> "
                     : event.kind == EventKind::result ? "  . "
                                                       : "  ";
  return time_of(event.at) + "  " + padded(terminal_text(event.name), 20) + " " + mark +
         step_text(event) + "\n";
}

std::string Timeline::summary(const Simulation& simulation) const {
  std::string out;
  if (!options_.json) {
    out = "\n" + padded("SERVICE", 22) + padded("STATE", 12) + padded("HEALTH", 12) +
          padded("STARTS", 8) + padded("RESTARTS", 26) + "HELD BACK\n";
  }
  for (const ContainerStatus* container : simulation.supervisor().containers()) {
    std::string restarts;
    std::string held;
    nlohmann::ordered_json counts = nlohmann::ordered_json::object();
    nlohmann::ordered_json back = nlohmann::ordered_json::object();
    for (std::size_t i = 0; i < kRestartReasons; ++i) {
      const std::uint64_t count = container->restarts_total[i];
      if (count == 0) continue;
      const char* name = to_string(static_cast<RestartReason>(i));
      restarts += (restarts.empty() ? "" : ", ") + std::to_string(count) + " " + name;
      counts[name] = count;
    }
    for (std::size_t i = 0; i < kSuppressReasons; ++i) {
      const std::uint64_t count = container->suppressed_total[i];
      if (count == 0) continue;
      const char* name = to_string(static_cast<SuppressReason>(i));
      held += (held.empty() ? "" : ", ") + std::to_string(count) + " " + name;
      back[name] = count;
    }
    if (options_.json) {
      out += json_text(nlohmann::ordered_json{{"container", container->name},
                                              {"state", to_string(container->state)},
                                              {"health", to_string(container->health)},
                                              {"starts", container->starts_total},
                                              {"restarts", counts},
                                              {"suppressed", back}}) +
             "\n";
      continue;
    }
    out += padded(terminal_text(container->name), 22) + padded(to_string(container->state), 12) +
           padded(to_string(container->health), 12) +
           padded(std::to_string(container->starts_total), 8) +
           padded(restarts.empty() ? "-" : restarts, 26) + (held.empty() ? "-" : held) + "\n";
  }
  return out;
}

Comparison compare_decisions(const std::vector<Event>& recorded,
                             const std::vector<Event>& simulated) {
  Comparison comparison;
  const auto before = by_container(recorded);
  const auto after = by_container(simulated);
  std::map<std::string, int> names;
  for (const auto& [name, events] : before) {
    comparison.recorded += events.size();
    names[name]++;
  }
  for (const auto& [name, events] : after) {
    comparison.simulated += events.size();
    names[name]++;
  }
  static const std::vector<const Event*> kNone;
  for (const auto& [name, unused] : names) {
    const auto& a = before.contains(name) ? before.at(name) : kNone;
    const auto& b = after.contains(name) ? after.at(name) : kNone;
    for (std::size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
      const std::string was = i < a.size() ? key_of(*a[i]) : "nothing";
      const std::string is = i < b.size() ? key_of(*b[i]) : "nothing";
      if (was == is) continue;
      std::string text = name + ", decision " + std::to_string(i + 1) + ": was " + was;
      if (i < a.size()) text += " at " + rfc3339_nano(a[i]->at);
      text += ", is " + is;
      if (i < b.size()) text += " at " + rfc3339_nano(b[i]->at);
      comparison.differences.push_back(std::move(text));
      break;  // what follows a difference differs
    }
  }
  return comparison;
}

}  // namespace keepwell
