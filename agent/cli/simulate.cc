// keepwell simulate: what the Supervisor would do, without doing anything.
#include <cstdio>

#include "agent/cli/files.h"
#include "agent/cli/guard_commands.h"
#include "agent/journal.h"
#include "agent/simulation/recorded_world.h"
#include "agent/simulation/script.h"
#include "agent/simulation/timeline.h"
#include "config/duration.h"
#include "exporters/journal.h"
#include "runtime/log_files.h"
#include "runtime/state_file.h"

namespace keepwell {
namespace {

constexpr std::size_t kScriptBytesMax = 4u << 20;
constexpr std::size_t kJournalBytesMax = std::size_t{2} << 30;

// A fixed day, so that the same input gives the same output.
constexpr WallTime kScriptBegin{std::chrono::seconds(1'767'225'600)};  // 2026-01-01

struct JournalText {
  std::string text;
  std::string dir;  // where it lies
};

// All files of the journal at PATH (a file, its directory, or a data directory), oldest first.
Result<JournalText> read_journal_files(const std::string& path) {
  for (const std::string& place : {path, path + "/journal.log", journal_path(path)}) {
    const std::vector<LogFile> files = open_log_files(place);
    if (files.empty()) continue;
    std::string text;
    std::string buffer(1 << 20, '\0');
    for (const LogFile& file : files) {
      std::uint64_t offset = 0;
      while (text.size() < kJournalBytesMax) {
        const Result<std::string_view> read = read_log(file, offset, buffer);
        if (!read) return fail(read.error());
        if (read->empty()) break;
        text += *read;
        offset += read->size();
      }
    }
    const std::size_t slash = place.rfind('/');
    return JournalText{std::move(text), slash == std::string::npos ? "." : place.substr(0, slash)};
  }
  return fail(Errc::not_found, "cannot find a journal at " + path +
                                   "; name its file, its directory, or the data directory");
}

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

int finish(const Simulation& simulation, const Timeline& timeline) {
  print(timeline.summary(simulation));
  if (simulation.violation().empty()) return 0;
  return failed(Error{Errc::os, "cannot trust this simulation: " + simulation.violation()});
}

int play_script(const SimulateCommand& command, std::shared_ptr<const ProjectSpec> project) {
  std::string text;
  if (!command.script.empty()) {
    const Result<std::string> read = command.script == "-"
                                         ? read_config_file("-", kScriptBytesMax)
                                         : read_small_file(command.script, kScriptBytesMax);
    if (!read) return failed(read.error());
    text = *read;
  }
  const Result<std::vector<ScriptLine>> lines = parse_script(text, *project);
  if (!lines) return failed(lines.error());
  Result<Duration> length = parse_duration(command.length);
  if (!length) return failed(Error{Errc::invalid, "cannot use --for: " + length.error().text});
  if (const auto end = ScriptedWorld::end_of(*lines)) length = *end;

  ScriptedWorld world;
  const Timeline timeline(
      {.begin = kScriptBegin, .relative = true, .json = command.json, .results = !command.quiet});
  Simulation simulation(
      {.project = std::move(project),
       .world = world.world(),
       .begin = kScriptBegin,
       .capture_time = [](const Capture&, Now) { return std::chrono::milliseconds(50); },
       .on_event = [&timeline](const Event& event) { print(timeline.line(event)); }});
  world.plan(simulation, *lines, kScriptBegin);
  simulation.run_until(kScriptBegin + *length);
  return finish(simulation, timeline);
}

std::shared_ptr<const ProjectSpec> load_project(const SimulateCommand& command, int& exit_code) {
  const Result<LoadOptions> options = load_options(command.file, "", "");
  if (!options) {
    exit_code = failed(options.error());
    return nullptr;
  }
  std::optional<ProjectSpec> loaded = load_and_report(*options, ImageFetch::unasked, exit_code);
  return loaded ? std::make_shared<const ProjectSpec>(std::move(*loaded)) : nullptr;
}

// Without a file, with those that were in force then: what the journal keeps of them.
int play_journal(const SimulateCommand& command) {
  const Result<JournalText> journal = read_journal_files(command.journal);
  if (!journal) return failed(journal.error());
  const JournalScan scan = scan_journal(journal->text);
  if (scan.torn + scan.newer > 0) {
    std::fprintf(stderr, "keepwell: %llu records are torn, %llu of a newer version: left out\n",
                 static_cast<unsigned long long>(scan.torn),
                 static_cast<unsigned long long>(scan.newer));
  }
  if (scan.events.empty()) {
    return failed(Error{Errc::invalid, "cannot replay " + command.journal + ": it is empty"});
  }
  RecordedWorld world(scan.events);
  RecordedWorld::FindConfig config;
  std::shared_ptr<const ProjectSpec> project;
  if (command.file.files.empty()) {
    config = [&journal](const std::string& name) -> std::shared_ptr<const ProjectSpec> {
      std::optional<ProjectSpec> kept = read_journal_config(journal->dir, name);
      return kept ? std::make_shared<const ProjectSpec>(std::move(*kept)) : nullptr;
    };
    project = config(world.first_config());
  }
  int code = 0;
  if (project == nullptr) project = load_project(command, code);
  if (project == nullptr) return code;
  const Timeline timeline(
      {.begin = world.begin(), .relative = false, .json = command.json, .results = !command.quiet});
  std::vector<Event> simulated;
  Simulation simulation({.project = std::move(project),
                         .world = world.world(),
                         .begin = world.begin(),
                         .capture_time = world.capture_time(),
                         .replay = world.replay(),
                         .on_event = [&](const Event& event) {
                           print(timeline.line(event));
                           if (is_decision(event)) simulated.push_back(event);
                         }});
  world.plan(simulation, config);
  simulation.run_until(world.end());
  code = finish(simulation, timeline);
  const Comparison comparison = compare_decisions(scan.events, simulated);
  std::FILE* out = command.json ? stderr : stdout;
  std::fprintf(out, "\ndecisions: %zu recorded, %zu simulated, %s\n", comparison.recorded,
               comparison.simulated, comparison.differences.empty() ? "the same" : "not the same:");
  for (const std::string& difference : comparison.differences) {
    std::fprintf(out, "  %s\n", printable(difference).c_str());
  }
  return code;
}

}  // namespace

int simulate_command(const SimulateCommand& command) {
  if (!command.journal.empty()) return play_journal(command);
  int exit_code = 0;
  std::shared_ptr<const ProjectSpec> project = load_project(command, exit_code);
  return project ? play_script(command, std::move(project)) : exit_code;
}

}  // namespace keepwell
