#include "agent/cli/options.h"

#include "agent/cli/guard_commands.h"

namespace keepwell {

void add_file_options(CLI::App* command, FileOptions& file, bool short_name) {
  command
      ->add_option(short_name ? "-f,--file" : "--file", file.files,
                   "Compose file (default keepwell.yaml, then compose.yaml); may be repeated")
      ->allow_extra_args(false);
}

void add_project_options(CLI::App* command, FileOptions& file) {
  add_file_options(command, file);
  command->add_option("-p,--project-name", file.project_name, "project name");
  command->add_option("--project-directory", file.project_directory,
                      "directory that relative paths start from");
  command->add_option("--profile", file.profiles, "profile to enable; may be repeated")
      ->allow_extra_args(false);
  command->add_flag("--lenient", file.lenient,
                    "warn about keys that are not supported instead of failing");
}

void add_place_options(CLI::App* command, Globals& globals, bool short_file) {
  command->add_option("-H,--host", globals.place.host,
                      "the agent's socket: unix://PATH or PATH (also KEEPWELL_HOST)");
  command->add_option("--run-dir", globals.place.run_dir, "the agent's run directory");
  add_file_options(command, globals.place.file, short_file);
}

void add_format_option(CLI::App* command, bool& json) {
  command
      ->add_option_function<std::string>(
          "--format", [&json](const std::string& format) { json = format == "json"; },
          "table, or json: one object a line")
      ->check(CLI::IsMember({"table", "json"}));
}

namespace {

void add_why(const Commands& c) {
  CLI::App* command = c.app.add_subcommand(
      "why", "say why a service was restarted: probes, thresholds, policy, guards, signals");
  auto options = std::make_shared<WhyCommand>();
  add_place_options(command, c.globals);
  command->add_option("NAME", options->name, "service, container or id prefix")->required();
  command->add_option("-n,--last", options->last, "so many incidents, newest last (default 1)")
      ->check(CLI::Range(1, 1'000'000));
  command->add_flag("-a,--all", options->all,
                    "also incidents in which nothing was restarted or stopped");
  add_format_option(command, options->json);
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return why_command(*options);
    };
  });
}

void add_hold(const Commands& c) {
  CLI::App* command = c.app.add_subcommand(
      "hold", "keep keepwell from acting on services for a while; their probes go on");
  auto options = std::make_shared<HoldCommand>();
  add_place_options(command, c.globals);
  command->add_option("NAME", options->names, "services, containers or id prefixes")->required();
  command->add_option("--for", options->length, "for how long (default 1h)");
  command->add_option("--reason", options->reason, "why, for whoever wonders");
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return hold_command(*options);
    };
  });
}

void add_release(const Commands& c) {
  CLI::App* command =
      c.app.add_subcommand("release", "end a hold; what was held back is then done");
  auto options = std::make_shared<NamesCommand>();
  add_place_options(command, c.globals);
  command->add_option("NAME", options->names, "services, containers or id prefixes")->required();
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return release_command(*options);
    };
  });
}

void add_incidents(const Commands& c) {
  CLI::App* command =
      c.app.add_subcommand("incidents", "list the evidence that was saved before restarts");
  auto options = std::make_shared<IncidentsCommand>();
  add_place_options(command, c.globals);
  add_format_option(command, options->json);
  CLI::App* show = command->add_subcommand("show", "print what was saved of one incident");
  add_format_option(show, options->json);
  show->add_option("ID", options->id, "its id, or the beginning of it")->required();
  command->require_subcommand(0, 1);
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return incidents_command(*options);
    };
  });
}

void add_simulate(const Commands& c) {
  CLI::App* command = c.app.add_subcommand(
      "simulate", "print what keepwell would do with a file in a made-up or a recorded history");
  auto options = std::make_shared<SimulateCommand>();
  add_project_options(command, options->file);
  CLI::Option* script =
      command->add_option("-s,--script", options->script, "what happens, line by line; - is stdin");
  command
      ->add_option("--journal", options->journal,
                   "replay a journal: its file, its directory, or a data directory; without -f "
                   "under the files that were in force then")
      ->excludes(script);
  command->add_option("--for", options->length, "how long, where the script has no end (10m)");
  command->add_flag("-q,--quiet", options->quiet, "without the results of probes");
  add_format_option(command, options->json);
  command->callback([options, c] { c.action = [options] { return simulate_command(*options); }; });
}

}  // namespace

void add_guard_commands(const Commands& commands) {
  add_why(commands);
  add_hold(commands);
  add_release(commands);
  add_incidents(commands);
  add_simulate(commands);
}

}  // namespace keepwell
