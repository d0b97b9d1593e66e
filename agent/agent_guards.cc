// The agent's own part in guards and evidence: their settings, what they show, and whether keepwell
// itself is on time.
#include <nlohmann/json.hpp>

#include "agent/agent.h"
#include "agent/driver.h"
#include "agent/evidence_collector.h"
#include "agent/log.h"
#include "config/duration.h"
#include "exporters/health_json.h"
#include "exporters/time_text.h"
#include "runtime/loop.h"
#include "runtime/notify.h"
#include "runtime/pressure.h"

namespace keepwell {

// With every new configuration.
void Agent::apply_guard_settings() {
  if (Status made = journal_.configure(accepted_->journal); !made) log_error(made.error().text);
  incidents_.configure(accepted_->incidents);
  bool wanted = false;
  for (const ServiceSpec& service : accepted_->services) {
    wanted = wanted || service.pressure_guard.on;
  }
  if (wanted && read_host_pressure().empty()) {
    log_warning(
        "pressure_guard is on, but this kernel tells no pressure (/proc/pressure is missing): "
        "timeouts count as ever");
  }
}

// What is late by more than what a loaded machine explains; empty: all is on time.
std::string Agent::late() const {
  const Duration lateness = driver_->supervisor().worst_lateness(Loop::now().mono);
  if (lateness <= kLatenessMax) return {};
  return "probes are late by " +
         format_duration(std::chrono::duration_cast<std::chrono::milliseconds>(lateness));
}

// From the loop, and only while probes are on time: where either hangs, systemd restarts us.
void Agent::feed_watchdog(Duration period) {
  const std::string trouble = late();
  if (trouble.empty()) {
    notify_supervisor("WATCHDOG=1");
  } else {
    log_error(trouble + ": the watchdog is not fed");
  }
  watchdog_.start_after(period, [this, period] { feed_watchdog(period); });
}

void Agent::fill_guard_stats() {
  const Supervisor& supervisor = driver_->supervisor();
  const std::optional<int> remaining = supervisor.budget_remaining(Loop::now().mono);
  stats_.restart_budget_remaining.reset();
  stats_.budget_guard_active.reset();
  if (remaining) {
    stats_.restart_budget_remaining = *remaining;
    stats_.budget_guard_active = supervisor.budget_holds();
  }
  stats_.pressure.clear();
  for (const HostPressure& pressure : read_host_pressure()) {
    stats_.pressure.push_back({pressure.resource, pressure.some, pressure.full});
  }
  stats_.pressure_guard_active.reset();
  for (const ServiceSpec& service : accepted_->services) {
    if (service.pressure_guard.on) stats_.pressure_guard_active = supervisor.pressure_holds();
  }
  const std::uint64_t torn_read = stats_.journal.torn_read_total;
  stats_.journal = {.bytes_total = journal_.bytes_total(),
                    .records_total = journal_.records_total(),
                    .write_failures_total = journal_.write_failures(),
                    .torn_total = journal_.torn() + torn_read,
                    .newer_total = journal_.newer(),
                    .torn_read_total = torn_read};
  stats_.evidence = {.captures_total = evidence_->captures_total(),
                     .failures_total = evidence_->failures_total(),
                     .removed_total = incidents_.removed_total()};
}

std::string Agent::incidents_json() const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const StoredIncident& incident : incidents_.list()) {
    list.push_back(
        {{"Id", incident.id}, {"At", rfc3339_nano(incident.at)}, {"Bytes", incident.bytes}});
  }
  return json_text(list);
}

Result<std::string> Agent::incident_json(const std::string& id) const {
  const Result<IncidentStore::Shown> shown = incidents_.show(id);
  if (!shown) return fail(shown.error());
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  for (const auto& [name, text] : shown->files) files[name] = text;
  return json_text(nlohmann::ordered_json{{"Id", shown->incident.id},
                                          {"At", rfc3339_nano(shown->incident.at)},
                                          {"Bytes", shown->incident.bytes},
                                          {"Files", std::move(files)}});
}

}  // namespace keepwell
