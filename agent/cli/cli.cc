#include "agent/cli/cli.h"

#include <CLI/CLI.hpp>
#include <functional>

#include "agent/cli/checks.h"
#include "agent/cli/client_commands.h"
#include "agent/cli/commands.h"
#include "agent/cli/images.h"
#include "agent/cli/options.h"
#include "agent/cli/reload.h"
#include "agent/cli/upgrade.h"
#include "runtime/network/port_relay.h"
#include "runtime/socket_maker.h"

namespace keepwell {
namespace {

// Everything behind the last word that COMMAND itself knows is another program's: its options are
// not ours.
void take_rest(CLI::App* command, std::vector<std::string>& rest) {
  command->prefix_command();
  command->parse_complete_callback([command, &rest] {
    rest = command->remaining();
    if (!rest.empty() && rest.front() == "--") rest.erase(rest.begin());
  });
}

// ---- the agent itself, and what needs none

void add_run(const Commands& c) {
  CLI::App* command = c.app.add_subcommand(
      "run", "run the services of a Compose file, in the foreground, until it is told to stop");
  auto options = std::make_shared<RunOptions>();
  add_project_options(command, options->file);
  command->add_option("--run-dir", options->run_dir, "run directory (over the file's)");
  command->add_option("--data-dir", options->data_dir, "data directory (over the file's)");
  command->add_option("--exit-code-from", options->exit_code_from,
                      "a service: when it has ended for good, stop all and end with its exit code");
  command->add_option("--cgroup-parent", options->cgroup_parent,
                      "the cgroup under which all containers live; not below keepwell's own unit");
  command->callback(
      [options, &action = c.action] { action = [options] { return run_command(*options); }; });
}

void add_check(const Commands& c) {
  CLI::App* command =
      c.app.add_subcommand("check", "report every mistake of a Compose file; exit code 2 if any");
  auto options = std::make_shared<CheckOptions>();
  add_project_options(command, options->file);
  command->add_flag("--print", options->print,
                    "print the effective configuration, as a Compose file");
  command->callback(
      [options, &action = c.action] { action = [options] { return check_command(*options); }; });
}

void add_doctor(const Commands& c) {
  CLI::App* command =
      c.app.add_subcommand("doctor", "say what this host can do for keepwell, and why not");
  auto options = std::make_shared<DoctorOptions>();
  command->add_option("--run-dir", options->run_dir, "run directory");
  command->add_option("--data-dir", options->data_dir, "data directory");
  add_format_option(command, options->json);
  command->callback(
      [options, &action = c.action] { action = [options] { return doctor_command(*options); }; });
}

void add_agent(const Commands& c) {
  CLI::App* command = c.app.add_subcommand("agent", "started by keepwell-keeper only")->group("");
  auto options = std::make_shared<AgentOptions>();
  command->add_option("--run-dir", options->run_dir)->required();
  command->add_option("--data-dir", options->data_dir)->required();
  command->add_option("--keeper-fd", options->keeper_fd);
  command->add_option("--listen-fd", options->listen_fd);
  command->add_option("--exit-code-from", options->exit_code_from);
  command->add_option("--cgroup-parent", options->cgroup_parent);
  command->callback(
      [options, &action = c.action] { action = [options] { return agent_command(*options); }; });
}

void add_socket_maker(const Commands& c) {
  CLI::App* command = c.app.add_subcommand("socket-maker", "started by the agent only")->group("");
  command->callback([&action = c.action] { action = [] { return serve_sockets(); }; });
}

void add_forward_ports(const Commands& c) {
  CLI::App* command = c.app.add_subcommand("forward-ports", "started by the agent only")->group("");
  auto pid_file = std::make_shared<std::string>();
  command->add_option("pid-file", *pid_file)->required();
  command->callback(
      [pid_file, &action = c.action] { action = [pid_file] { return relay_ports(*pid_file); }; });
}

void add_reload(const Commands& c) {
  CLI::App* command = c.app.add_subcommand(
      "reload", "read the Compose file again and apply what changed; a bad file changes nothing");
  add_place_options(command, c.globals);
  auto options = std::make_shared<ReloadOptions>();
  command->add_flag("--dry-run", options->dry_run, "only print what would change");
  add_format_option(command, options->json);
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return reload_command(*options);
    };
  });
}

void add_upgrade(const Commands& c) {
  CLI::App* command = c.app.add_subcommand(
      "upgrade",
      "replace the running keeper and agent by the programs of this command; services run on");
  add_place_options(command, c.globals);
  command->callback(
      [c] { c.action = [&globals = c.globals] { return upgrade_command(globals.place); }; });
}

// ---- clients: looking

void add_ps(const Commands& c) {
  CLI::App* command = c.app.add_subcommand("ps", "list containers with their state and health");
  auto options = std::make_shared<PsCommand>();
  add_place_options(command, c.globals);
  command->add_option("NAME", options->names, "services, containers or id prefixes; none: all");
  command->add_flag("-a,--all")->description("also those that do not run: always the case");
  command->add_option("--filter", options->filters, "KEY=VALUE, as docker ps takes it")
      ->allow_extra_args(false);
  command->add_flag("-q,--quiet", options->quiet, "ids only");
  command->add_flag("--no-trunc", options->no_trunc, "do not shorten ids and commands");
  add_format_option(command, options->json);
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return ps_command(*options);
    };
  });
}

void add_names_command(const Commands& c, const char* name, const char* text, bool names_needed,
                       int (*run)(const NamesCommand&)) {
  CLI::App* command = c.app.add_subcommand(name, text);
  auto options = std::make_shared<NamesCommand>();
  add_place_options(command, c.globals);
  CLI::Option* names =
      command->add_option("NAME", options->names, "services, containers or id prefixes");
  if (names_needed) names->required();
  add_format_option(command, options->json);
  command->callback([options, c, run] {
    c.action = [options, run, &globals = c.globals] {
      options->place = globals.place;
      return run(*options);
    };
  });
}

void add_version(const Commands& c) {
  CLI::App* command = c.app.add_subcommand("version", "the version of this program and the agent");
  auto options = std::make_shared<NamesCommand>();
  add_place_options(command, c.globals);
  add_format_option(command, options->json);
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return version_command(*options);
    };
  });
}

void add_top(const Commands& c) {
  CLI::App* command = c.app.add_subcommand(
      "top", "show what the checks cost, or list the processes of a container");
  auto options = std::make_shared<TopCommand>();
  add_place_options(command, c.globals);
  command->add_option("NAME", options->name,
                      "service, container or id prefix; none: what each check costs");
  command->add_flag("-u,--usage", options->usage, "what each container uses, over a second");
  take_rest(command, options->ps_arguments);
  add_format_option(command, options->json);
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return options->usage ? usage_command(*options) : top_command(*options);
    };
  });
}

void add_logs(const Commands& c) {
  CLI::App* command = c.app.add_subcommand("logs", "print what a container has written");
  auto options = std::make_shared<LogsCommand>();
  add_place_options(command, c.globals, false);
  command->add_option("NAME", options->name, "service, container or id prefix")->required();
  command->add_flag("-f,--follow", options->follow, "go on until the container ends");
  command->add_option("-n,--tail", options->tail, "so many lines from the end, or all");
  command->add_option("--since", options->since, "RFC 3339 time, seconds, or a duration (10m)");
  command->add_option("--until", options->until, "likewise");
  command->add_flag("-t,--timestamps", options->timestamps, "with the time of each line");
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return logs_command(*options);
    };
  });
}

void add_events(const Commands& c) {
  CLI::App* command = c.app.add_subcommand(
      "events", "print what has happened; with --follow also what happens from now on");
  auto options = std::make_shared<EventsCommand>();
  add_place_options(command, c.globals, false);
  command->add_flag("-f,--follow", options->follow, "go on");
  command->add_option("--since", options->since, "RFC 3339 time, seconds, or a duration (10m)");
  command->add_option("--until", options->until, "likewise");
  command->add_option("--filter", options->filters, "KEY=VALUE, as docker events takes it")
      ->allow_extra_args(false);
  add_format_option(command, options->json);
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return events_command(*options);
    };
  });
}

// ---- clients: acting

void add_lifecycle(const Commands& c, const char* verb, const char* text, bool takes_time,
                   bool takes_signal) {
  CLI::App* command = c.app.add_subcommand(verb, text);
  auto options = std::make_shared<LifecycleCommand>();
  options->verb = verb;
  add_place_options(command, c.globals);
  command->add_option("NAME", options->names, "services, containers or id prefixes")->required();
  if (takes_time)
    command->add_option("-t,--timeout", options->seconds,
                        "seconds until SIGKILL; negative: never (default stop_grace_period)");
  if (takes_signal) command->add_option("-s,--signal", options->signal, "TERM, SIGHUP, 10, ...");
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return lifecycle_command(*options);
    };
  });
}

void add_check_command(const Commands& c, const char* name, const char* text, bool check_needed,
                       int (*run)(const CheckCommand&)) {
  CLI::App* command = c.app.add_subcommand(name, text);
  auto options = std::make_shared<CheckCommand>();
  add_place_options(command, c.globals);
  command->add_option("NAME", options->name, "service, container or id prefix")->required();
  CLI::Option* check = command->add_option("CHECK", options->check, "name of the check");
  if (check_needed) {
    check->required();
  } else {
    add_format_option(command, options->json);
  }
  command->callback([options, c, run] {
    c.action = [options, run, &globals = c.globals] {
      options->place = globals.place;
      return run(*options);
    };
  });
}

void add_exec(const Commands& c) {
  CLI::App* command = c.app.add_subcommand("exec", "run a command in a running container");
  auto options = std::make_shared<ExecCommand>();
  add_place_options(command, c.globals);
  command->add_flag("-i,--interactive", options->interactive, "connect standard input");
  command->add_flag("-t,--tty", options->tty, "with a terminal");
  command->add_flag("-d,--detach", options->detach, "do not wait for it");
  command->add_flag("--privileged", options->privileged, "with all capabilities");
  command->add_option("-u,--user", options->user, "NAME|UID[:GROUP|GID]");
  command->add_option("-w,--workdir", options->working_dir, "working directory");
  command->add_option("-e,--env", options->env, "NAME=VALUE; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--detach-keys", options->detach_keys, "default ctrl-p,ctrl-q");
  command->add_option("NAME", options->name, "service, container or id prefix")->required();
  take_rest(command, options->argv);
  command->callback([options, c] {
    c.action = [options, &globals = c.globals] {
      options->place = globals.place;
      return exec_command(*options);
    };
  });
}

// ---- images

void add_store_options(CLI::App* command, StorePlace& place) {
  command->add_option("--data-dir", place.data_dir, "the data directory whose images are meant");
  command->add_option("--run-dir", place.run_dir, "the run directory of the agent that uses them");
  add_file_options(command, place.file);
}

// Options of an image command, and what runs it.
template <class Options>
CLI::App* add_image_command(CLI::App& parent, CommandAction& action, const char* name,
                            const char* text, const std::shared_ptr<Options>& options,
                            int (*run)(const Options&)) {
  CLI::App* command = parent.add_subcommand(name, text);
  add_store_options(command, options->place);
  command->callback([options, run, &action] { action = [options, run] { return run(*options); }; });
  return command;
}

void add_images(const Commands& c) {
  auto list = std::make_shared<ImagesCommand>();
  CLI::App* command = add_image_command(c.app, c.action, "images", "list the images that are here",
                                        list, images_command);
  command->add_flag("-q,--quiet", list->quiet, "ids only");
  command->add_flag("--no-trunc", list->no_trunc, "do not shorten ids");
  command->add_flag("--digests", list->digests, "with the digests of the manifests");
  add_format_option(command, list->json);

  CLI::App* image = c.app.add_subcommand("image", "load and remove images");
  image->require_subcommand(1);
  auto load = std::make_shared<ImageLoadCommand>();
  command = add_image_command(*image, c.action, "load",
                              "load an image from a file, a directory or a registry", load,
                              image_load_command);
  command
      ->add_option("SOURCE", load->source,
                   "an archive of docker save or of OCI kind, an OCI layout, NAME[:TAG] in a "
                   "registry, or TRANSPORT:REFERENCE as skopeo has it")
      ->required();
  command->add_option("-t,--name", load->name, "the name it gets here, over the archive's own");
  command->add_option("--platform", load->platform, "os/architecture[/variant]");
  command->add_option("--max-size", load->max_size, "refuse it if it is larger (default 20g)");

  auto remove = std::make_shared<ImageRemoveCommand>();
  command = add_image_command(*image, c.action, "rm", "remove images that no service uses", remove,
                              image_remove_command);
  command->add_option("IMAGE", remove->names, "names or ids")->required();

  auto prune = std::make_shared<ImagePruneCommand>();
  command = add_image_command(*image, c.action, "prune",
                              "remove images that have no name and that no service uses", prune,
                              image_prune_command);
  command->add_flag("-a,--all", prune->all, "also those that have a name");
}

void add_all(const Commands& c) {
  add_run(c);
  add_check(c);
  add_ps(c);
  add_names_command(c, "inspect", "all that is known of containers, as docker inspect", true,
                    inspect_command);
  add_names_command(c, "health", "health and the last probes of containers", false, health_command);
  add_logs(c);
  add_events(c);
  add_exec(c);
  add_lifecycle(c, "start", "start containers", false, false);
  add_lifecycle(c, "stop", "stop containers, until they are started again", true, true);
  add_lifecycle(c, "restart", "stop containers and start them again", true, true);
  add_lifecycle(c, "kill", "send a signal to containers (default KILL)", false, true);
  add_lifecycle(c, "pause", "freeze containers", false, false);
  add_lifecycle(c, "unpause", "let paused containers go on", false, false);
  add_check_command(c, "probe", "run health checks now; exit code 1 if one fails", false,
                    probe_command);
  add_check_command(c, "pause-check", "stop running a health check, until it is resumed", true,
                    pause_check_command);
  add_check_command(c, "resume-check", "run a paused health check again", true,
                    resume_check_command);
  add_top(c);
  add_doctor(c);
  add_reload(c);
  add_guard_commands(c);
  add_upgrade(c);
  add_images(c);
  add_version(c);
  add_agent(c);
  add_socket_maker(c);
  add_forward_ports(c);
}

}  // namespace

int cli_main(int argc, char** argv) {
  CLI::App app{
      "keepwell runs the containers of one host from a Compose file, watches their health, and "
      "puts "
      "sick ones right.",
      "keepwell"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "keepwell " KEEPWELL_VERSION);
  Globals globals;
  CommandAction action;
  add_place_options(&app, globals);
  add_all({app, globals, action});
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return action();
}

}  // namespace keepwell
