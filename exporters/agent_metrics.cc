// The families about keepwell itself.
#include "exporters/duration_stats.h"
#include "exporters/metric_writer.h"
#include "exporters/time_text.h"

namespace keepwell {
namespace {

using prometheus::MetricType;

double number(std::uint64_t value) { return static_cast<double>(value); }
double seconds(Duration value) { return std::chrono::duration<double>(value).count(); }

void write_build_info(MetricWriter& writer, const AgentStats& agent) {
  writer.family("keepwell_build_info", MetricType::Gauge,
                "1; the labels say which keepwell this is.");
  writer.sample(1, {{"version", agent.version},
                    {"commit", agent.commit.empty() ? "unknown" : std::string_view(agent.commit)},
                    {"libuv", agent.libuv.empty() ? "unknown" : std::string_view(agent.libuv)}});
}

void write_exec(MetricWriter& writer, const AgentStats& agent) {
  writer.gauge("keepwell_exec_sessions", "Exec sessions that run now.",
               number(agent.exec_sessions));
  writer.counter("keepwell_exec_sessions_total", "Exec sessions that were started.",
                 number(agent.exec_sessions_total));
  writer.family("keepwell_exec_bytes_total", MetricType::Counter,
                "Bytes that went through exec sessions, by direction as the container sees it.");
  writer.sample(number(agent.exec_bytes_in_total), {{"direction", "in"}});
  writer.sample(number(agent.exec_bytes_out_total), {{"direction", "out"}});
}

void write_api(MetricWriter& writer, const AgentStats& agent, bool histograms) {
  static constexpr const char* kClasses[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
  if (agent.api.empty()) return;
  writer.family("keepwell_api_requests_total", MetricType::Counter,
                "API requests that were answered, by route, method and class of status code.");
  for (const auto& [key, route] : agent.api) {
    for (std::size_t i = 0; i < route.by_class.size(); ++i) {
      // Five series for each of some fifty routes, most of them 0 for ever, would be the larger
      // part of a small scrape: a class shows once it was seen, 2xx always.
      if (route.by_class[i] == 0 && i != 1) continue;
      writer.sample(number(route.by_class[i]),
                    {{"route", key.first}, {"method", key.second}, {"code", kClasses[i]}});
    }
  }
  if (!histograms) return;
  writer.family("keepwell_api_request_duration_seconds", MetricType::Histogram,
                "Time from a request's head to the end of its answer (for streams: to its start).");
  for (const auto& [key, route] : agent.api) {
    writer.histogram(route.duration, kApiDurationBounds,
                     {{"route", key.first}, {"method", key.second}});
  }
}

void write_streams(MetricWriter& writer, const AgentStats& agent) {
  writer.counter("keepwell_events_total", "Events that were emitted.", number(agent.events_total));
  writer.gauge("keepwell_event_subscribers", "Clients that follow the event stream now.",
               number(agent.event_subscribers));
  writer.counter("keepwell_event_subscribers_dropped_total",
                 "Event followers that were cut off since they read too slowly.",
                 number(agent.event_subscribers_dropped_total));
  writer.gauge("keepwell_log_followers", "Clients that follow a container's log now.",
               number(agent.log_followers));
  writer.counter("keepwell_log_followers_dropped_total",
                 "Log followers that were cut off since they read too slowly.",
                 number(agent.log_followers_dropped_total));
}

void write_logger(MetricWriter& writer, const AgentStats& agent) {
  if (!agent.log) return;
  const AgentStats::LogStats& log = *agent.log;
  writer.counter("keepwell_log_bytes_total", "Bytes of container output that were stored.",
                 number(log.bytes_total));
  writer.counter("keepwell_log_lines_total", "Lines of container output that were stored.",
                 number(log.lines_total));
  writer.counter("keepwell_log_rotations_total", "Log files that were rotated.",
                 number(log.rotations_total));
  writer.counter("keepwell_log_write_failures_total",
                 "Writes to log files that failed; the output stays queued.",
                 number(log.write_failures_total));
  writer.counter("keepwell_log_stalled_seconds_total",
                 "Time in which container output could not be stored.", seconds(log.stalled_total));
}

void write_config(MetricWriter& writer, const AgentStats& agent) {
  writer.counter("keepwell_config_reloads_total",
                 "Reloads of the configuration that were asked for, failed ones too.",
                 number(agent.config_reloads_total));
  writer.counter("keepwell_config_reload_failures_total",
                 "Reloads that were refused; the configuration before stayed in force.",
                 number(agent.config_reload_failures_total));
  if (agent.config_last_reload) {
    writer.gauge("keepwell_config_last_reload_timestamp_seconds",
                 "When the configuration in force was accepted.",
                 static_cast<double>(unix_seconds(*agent.config_last_reload)));
  }
}

void write_journal(MetricWriter& writer, const AgentStats& agent) {
  const AgentStats::JournalStats& journal = agent.journal;
  writer.counter("keepwell_journal_bytes_total", "Bytes that were written to the journal.",
                 number(journal.bytes_total));
  writer.counter("keepwell_journal_records_total", "Records that were written to the journal.",
                 number(journal.records_total));
  writer.counter("keepwell_journal_write_failures_total",
                 "Journal records that could not be written.",
                 number(journal.write_failures_total));
  writer.counter("keepwell_journal_torn_total",
                 "Journal records that were found torn or foreign when read.",
                 number(journal.torn_total));
  writer.counter("keepwell_journal_newer_total",
                 "Journal records of a newer version of keepwell, which were passed over.",
                 number(journal.newer_total));
}

void write_evidence(MetricWriter& writer, const AgentStats& agent) {
  writer.counter("keepwell_captures_total", "Times that evidence of an incident was saved.",
                 number(agent.evidence.captures_total));
  writer.counter("keepwell_capture_failures_total",
                 "Captures that lack something: no room, no time, or a command that hung.",
                 number(agent.evidence.failures_total));
  writer.counter("keepwell_incidents_removed_total",
                 "Saved incidents that were removed to make room for newer ones.",
                 number(agent.evidence.removed_total));
}

void write_hooks(MetricWriter& writer, const AgentStats& agent) {
  if (agent.hooks.empty()) return;
  writer.family("keepwell_hook_runs_total", MetricType::Counter, "Hooks that were run.");
  for (const auto& [name, hook] : agent.hooks) {
    writer.sample(number(hook.runs_total), {{"hook", name}});
  }
  writer.family("keepwell_hook_failures_total", MetricType::Counter,
                "Hooks that failed or took too long.");
  for (const auto& [name, hook] : agent.hooks) {
    writer.sample(number(hook.failures_total), {{"hook", name}});
  }
}

void write_webhooks(MetricWriter& writer, const AgentStats& agent) {
  if (agent.webhooks.empty()) return;
  struct Family {
    const char* name;
    MetricType type;
    const char* help;
    std::uint64_t WebhookStats::*value;
  };
  static constexpr Family kFamilies[] = {
      {"keepwell_webhooks_delivered_total", MetricType::Counter, "Webhooks that were taken.",
       &WebhookStats::delivered_total},
      {"keepwell_webhook_failures_total", MetricType::Counter,
       "Attempts to deliver a webhook that failed.", &WebhookStats::failures_total},
      {"keepwell_webhooks_dropped_total", MetricType::Counter,
       "Webhooks that were given up: refused, a day old, or too many in the queue.",
       &WebhookStats::dropped_total},
      {"keepwell_webhooks_pending", MetricType::Gauge, "Webhooks that are still to be delivered.",
       &WebhookStats::pending}};
  for (const Family& family : kFamilies) {
    writer.family(family.name, family.type, family.help);
    for (const auto& [name, webhook] : agent.webhooks) {
      writer.sample(number(webhook.*family.value), {{"hook", name}});
    }
  }
}

void write_guards(MetricWriter& writer, const AgentStats& agent) {
  if (agent.restart_budget_remaining) {
    writer.gauge("keepwell_restart_budget_remaining",
                 "Automatic restarts that the host-wide budget would allow now.",
                 *agent.restart_budget_remaining);
  }
  if (!agent.pressure.empty()) {
    writer.family("keepwell_pressure_ratio", MetricType::Gauge,
                  "Share of the last 10 s in which some or all work waited for a resource (PSI).");
    for (const PressureStats& pressure : agent.pressure) {
      writer.sample(pressure.some, {{"resource", pressure.resource}, {"kind", "some"}});
      if (!pressure.full) continue;
      writer.sample(*pressure.full, {{"resource", pressure.resource}, {"kind", "full"}});
    }
  }
  if (!agent.pressure_guard_active && !agent.budget_guard_active) return;
  writer.family("keepwell_guard_active", MetricType::Gauge, "1 while a guard holds restarts back.");
  if (agent.pressure_guard_active) {
    writer.sample(*agent.pressure_guard_active ? 1 : 0, {{"guard", "pressure"}});
  }
  if (agent.budget_guard_active) {
    writer.sample(*agent.budget_guard_active ? 1 : 0, {{"guard", "budget"}});
  }
}

void write_process(MetricWriter& writer, const AgentStats& agent) {
  if (!agent.process) return;
  const ProcessStats& process = *agent.process;
  writer.counter("process_cpu_seconds_total", "User and system CPU time of the agent process.",
                 process.cpu_seconds);
  writer.gauge("process_resident_memory_bytes", "Resident memory of the agent process.",
               number(process.resident_bytes));
  writer.gauge("process_virtual_memory_bytes", "Virtual memory of the agent process.",
               number(process.virtual_bytes));
  writer.gauge("process_open_fds", "Open file descriptors of the agent process.",
               number(process.open_fds));
  writer.gauge("process_max_fds", "Most file descriptors the agent process may open.",
               number(process.max_fds));
  writer.gauge("process_start_time_seconds", "When the agent process started.",
               process.start_time_seconds);
}

}  // namespace

void write_agent_families(MetricWriter& writer, const AgentStats& agent, std::size_t omitted,
                          bool histograms) {
  write_build_info(writer, agent);
  writer.gauge("keepwell_metrics_services_omitted",
               "Containers without series of their own, since there are more than "
               "metrics.max_services.",
               number(omitted));
  // These two are the agent's own promise; they have no labels and stay with histograms: off.
  writer.family("keepwell_probe_lateness_seconds", MetricType::Histogram,
                "How long after its due time a probe started.");
  writer.histogram(agent.probe_lateness, kProbeLatenessBounds);
  writer.gauge("keepwell_probes_in_flight", "Probes that run now.", number(agent.probes_in_flight));
  writer.gauge("keepwell_probes_waiting", "Probes that are due and wait for probes_at_once.",
               number(agent.probes_waiting));
  writer.family("keepwell_loop_lag_seconds", MetricType::Histogram,
                "How late the agent's event loop woke up for its timer.");
  writer.histogram(agent.loop_lag, kLoopLagBounds);
  write_exec(writer, agent);
  write_api(writer, agent, histograms);
  write_streams(writer, agent);
  write_logger(writer, agent);
  writer.counter("keepwell_state_write_failures_total", "State records that could not be written.",
                 number(agent.state_write_failures_total));
  write_journal(writer, agent);
  write_evidence(writer, agent);
  write_config(writer, agent);
  write_hooks(writer, agent);
  write_webhooks(writer, agent);
  write_guards(writer, agent);
  write_process(writer, agent);
}

}  // namespace keepwell
