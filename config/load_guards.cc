// Guards and evidence: restart_budget, pressure_guard, incidents and journal of the file; priority,
// flap, capture and pressure_guard of a service.
#include "config/draft.h"

namespace keepwell {
namespace {

// "off" and "on" in place of a map, whatever YAML 1.1 makes of them. True: it was such a word, or
// is wrong and was reported; ON is then what it says.
bool read_switch(const Field& f, std::string_view what, bool& on) {
  const Node& node = f.value();
  if (node.is_mapping()) return false;
  constexpr std::string_view kWords[] = {"off", "on", "false", "true"};
  std::size_t which = 0;
  if (node.is_scalar() && read_choice(f.context, what, node, kWords, which)) on = which % 2 == 1;
  if (!node.is_scalar()) f.error(std::string(what) + " is no map; write off, on or its keys");
  return true;
}

void read_whole(const Field& f, const char* what, std::int64_t least, std::int64_t most, int& out) {
  std::int64_t value = 0;
  if (read_integer(f.context, what, f.value(), least, most, value)) out = static_cast<int>(value);
}

void read_size(const Field& f, const char* what, std::int64_t least, std::uint64_t& out) {
  std::int64_t value = 0;
  if (!read_bytes(f.context, what, f.value(), value)) return;
  if (value < least) {
    f.error(std::string(what) + " is too small; write at least " + std::to_string(least) + "b");
    return;
  }
  out = static_cast<std::uint64_t>(value);
}

void read_positive(const Field& f, const char* what, Duration& out) {
  Duration value{};
  if (!read_duration(f.context, what, f.value(), value)) return;
  if (value <= Duration::zero()) {
    f.error(std::string(what) + " is no length of time; write more than 0s");
    return;
  }
  out = value;
}

// ---- restart_budget

void read_budget_count(const Field& f, RestartBudgetSpec& s) {
  read_whole(f, "restart_budget.count", 1, 1'000'000, s.count);
}
void read_budget_window(const Field& f, RestartBudgetSpec& s) {
  read_positive(f, "restart_budget.window", s.window);
}
constexpr Key<RestartBudgetSpec> kBudgetKeys[] = {{"count", read_budget_count},
                                                  {"window", read_budget_window}};

// ---- pressure_guard

void read_cpu(const Field& f, PressureGuardSpec& s) {
  read_share(f.context, "pressure_guard.cpu", f.value(), s.cpu);
}
void read_memory(const Field& f, PressureGuardSpec& s) {
  read_share(f.context, "pressure_guard.memory", f.value(), s.memory);
}
void read_io(const Field& f, PressureGuardSpec& s) {
  read_share(f.context, "pressure_guard.io", f.value(), s.io);
}
void read_max_hold(const Field& f, PressureGuardSpec& s) {
  read_positive(f, "pressure_guard.max_hold", s.max_hold);
}
constexpr Key<PressureGuardSpec> kPressureKeys[] = {
    {"cpu", read_cpu}, {"memory", read_memory}, {"io", read_io}, {"max_hold", read_max_hold}};

void read_pressure(const Field& f, PressureGuardSpec& spec) {
  if (read_switch(f, "pressure_guard", spec.on)) {
    if (!spec.on) spec = {};  // not the file's levels
    return;
  }
  spec.on = true;
  read_map(f.context, f.value(), "pressure_guard", kPressureKeys, spec);
}

// ---- flap

void read_flap_window(const Field& f, FlapSpec& s) {
  read_whole(f, "flap.window", 4, kFlapWindowMax, s.window);
}
void read_high(const Field& f, FlapSpec& s) {
  read_share(f.context, "flap.high", f.value(), s.high);
}
void read_low(const Field& f, FlapSpec& s) { read_share(f.context, "flap.low", f.value(), s.low); }
constexpr Key<FlapSpec> kFlapKeys[] = {
    {"window", read_flap_window}, {"high", read_high}, {"low", read_low}};

// ---- capture

void read_capture_timeout(const Field& f, CaptureSpec& s) {
  read_positive(f, "capture.timeout", s.timeout);
}
void read_log_lines(const Field& f, CaptureSpec& s) {
  read_whole(f, "capture.log_lines", 0, 100'000, s.log_lines);
}
void read_capture_command(const Field& f, CaptureSpec& s) {
  if (!f.value().is_sequence()) {
    f.error("capture.command is no list; write [program, argument, ...]");
    return;
  }
  read_text_list(f.context, "capture.command", f.value(), s.command);
}
constexpr Key<CaptureSpec> kCaptureKeys[] = {{"timeout", read_capture_timeout},
                                             {"log_lines", read_log_lines},
                                             {"command", read_capture_command}};

// ---- incidents, journal

void read_incident_count(const Field& f, IncidentsSpec& s) {
  read_whole(f, "incidents.count", 0, 100'000, s.count);
}
void read_incident_bytes(const Field& f, IncidentsSpec& s) {
  read_size(f, "incidents.max_size", 0, s.bytes_max);
}
constexpr Key<IncidentsSpec> kIncidentKeys[] = {{"count", read_incident_count},
                                                {"max_size", read_incident_bytes}};

void read_journal_size(const Field& f, JournalSpec& s) {
  read_size(f, "journal.max_size", 64 << 10, s.file_bytes_max);
}
void read_journal_files(const Field& f, JournalSpec& s) {
  read_whole(f, "journal.max_files", 1, 1000, s.files_max);
}
constexpr Key<JournalSpec> kJournalKeys[] = {{"max_size", read_journal_size},
                                             {"max_files", read_journal_files}};

}  // namespace

// ---- of the file

void read_restart_budget(const Field& f, ProjectSpec& p) {
  bool on = false;
  if (f.value().is_scalar()) {
    if (read_switch(f, "restart_budget", on) && on) {
      f.error("restart_budget has no count; write { count: 5, window: 1m }");
    }
    return;
  }
  read_map(f.context, f.value(), "restart_budget", kBudgetKeys, p.restart_budget);
  if (f.value().is_mapping() && f.value().find("count") == nullptr) {
    f.error("restart_budget has no count; write { count: 5, window: 1m }");
  }
}

void read_pressure_guard(const Field& f, ProjectSpec& p) {
  read_pressure(f, p.pressure_guard);
  f.context.pressure_guard = p.pressure_guard;
}

void read_incidents(const Field& f, ProjectSpec& p) {
  read_map(f.context, f.value(), "incidents", kIncidentKeys, p.incidents);
}

void read_journal(const Field& f, ProjectSpec& p) {
  read_map(f.context, f.value(), "journal", kJournalKeys, p.journal);
}

// ---- of a service

void read_priority(const Field& f, ServiceDraft& d) {
  read_whole(f, "priority", -1000, 1000, d.spec.priority);
}

void read_service_pressure_guard(const Field& f, ServiceDraft& d) {
  read_pressure(f, d.spec.pressure_guard);
}

void read_flap(const Field& f, ServiceDraft& d) {
  FlapSpec& flap = d.spec.flap;
  if (read_switch(f, "flap", flap.on)) return;
  flap.on = true;
  read_map(f.context, f.value(), "flap", kFlapKeys, flap);
  if (flap.low > flap.high) f.error("flap.low is above flap.high; swap them");
}

void read_capture(const Field& f, ServiceDraft& d) {
  CaptureSpec& capture = d.spec.capture;
  if (read_switch(f, "capture", capture.on)) return;
  capture.on = true;
  read_map(f.context, f.value(), "capture", kCaptureKeys, capture);
}

}  // namespace keepwell
