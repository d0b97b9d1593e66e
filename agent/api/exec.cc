// Exec sessions: create, start, resize, kill, inspect. A session starts attached (the connection is
// hijacked and carries its input and output) or detached. An attached one ends with its client.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "agent/api/detach_keys.h"
#include "agent/api/exec_io.h"
#include "agent/api/json_body.h"
#include "agent/api/router.h"
#include "agent/exec_sessions.h"
#include "config/signals.h"
#include "exporters/agent_stats.h"
#include "exporters/health_json.h"
#include "runtime/passwd.h"

namespace keepwell {
namespace {

using nlohmann::json;
using Attributes = std::vector<std::pair<std::string, std::string>>;

// Why CONTAINER, which the client called NAME, takes no exec now; "" if it does.
std::string refusal(const ContainerStatus& container, const std::string& name) {
  if (container.state == ServiceState::paused)
    return "Container " + name + " is paused, unpause the container before exec";
  if (is_restarting(container))
    return "Container " + container.id + " is restarting, wait until the container is running";
  if (!is_running(container)) return "container " + container.id + " is not running";
  return {};
}

std::string words(const std::vector<std::string>& argv) {
  std::string text;
  for (const std::string& word : argv) text += (text.empty() ? "" : " ") + word;
  return text;
}

void tell(const ApiContext& api, const Exec& exec, std::string action, Attributes attributes = {}) {
  attributes.emplace_back("execID", exec.id);
  attributes.emplace_back("execType", "exec");
  publish_event(api, exec.container_id, std::move(action), std::move(attributes));
}

// ---- create

Status read_console(const json& body, int minor, ConsoleSize& console) {
  std::vector<int> size;
  Status read = read_json(body, "ConsoleSize", size);
  if (!read || minor < 42 || size.empty()) return read;
  if (size.size() != 2)
    return fail(Errc::invalid, "invalid JSON: ConsoleSize must be [height, width]");
  console = {size[0], size[1]};
  return {};
}

Result<ExecSpec> read_exec_spec(const json& body, int minor) {
  ExecSpec spec;
  const std::array statuses{read_json(body, "Cmd", spec.argv),
                            read_json(body, "Env", spec.env),
                            read_json(body, "User", spec.user),
                            read_json(body, "WorkingDir", spec.working_dir),
                            read_json(body, "DetachKeys", spec.detach_keys),
                            read_json(body, "Tty", spec.tty),
                            read_json(body, "Privileged", spec.privileged),
                            read_json(body, "AttachStdin", spec.attach_stdin),
                            read_json(body, "AttachStdout", spec.attach_stdout),
                            read_json(body, "AttachStderr", spec.attach_stderr),
                            read_console(body, minor, spec.console)};
  for (const Status& status : statuses)
    if (!status) return fail(status.error());
  if (spec.argv.empty()) return fail(Errc::invalid, "No exec command specified");
  Result<std::string> keys = parse_detach_keys(spec.detach_keys);
  if (!keys) return fail(keys.error());
  spec.detach_sequence = std::move(*keys);
  if (!spec.user.empty()) {
    const Status user = check_user_spec(spec.user);
    if (!user) return fail(Errc::invalid, user.error().text);
  }
  return spec;
}

void post_create(const ApiCall& call) {
  const Status type = check_json_type(call.exchange->request());
  if (!type) {
    fail_call(call, type.error());
    return;
  }
  const Result<json> body = parse_json_object(call.exchange->body());
  if (!body) {
    fail_call(call, body.error());
    return;
  }
  Result<ExecSpec> spec = read_exec_spec(*body, call.minor);
  if (!spec) {
    fail_call(call, spec.error());
    return;
  }
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  const std::string refused = refusal(*container, call.params.front());
  if (!refused.empty()) {
    call.exchange->fail(409, refused);
    return;
  }
  const Result<std::shared_ptr<Exec>> exec =
      call.api->execs->create(container->id, container->name, container->run, std::move(*spec));
  if (!exec) {
    fail_call(call, exec.error());
    return;
  }
  tell(*call.api, **exec, "exec_create: " + words((*exec)->spec.argv));
  respond_json(call, json_text({{"Id", (*exec)->id}}), 201);
}

// ---- start

struct StartOptions {
  bool detach = false;
  bool tty = false;
  ConsoleSize console;
};

Result<StartOptions> read_start(const ApiCall& call) {
  StartOptions options;
  if (call.minor > 21) {
    const Status type = check_json_type(call.exchange->request());
    if (!type) return fail(type.error());
  }
  if (call.exchange->body().empty()) return options;
  const Result<json> body = parse_json_object(call.exchange->body());
  if (!body) return fail(body.error());
  const std::array statuses{read_json(*body, "Detach", options.detach),
                            read_json(*body, "Tty", options.tty),
                            read_console(*body, call.minor, options.console)};
  for (const Status& status : statuses)
    if (!status) return fail(status.error());
  if (!options.tty) options.console = {};
  return options;
}

// The session named in CALL, ready to be started; null if the call was answered.
std::shared_ptr<Exec> startable(const ApiCall& call) {
  const std::string& id = call.params.front();
  std::shared_ptr<Exec> exec = call.api->execs->find(id);
  if (!exec) {
    call.exchange->fail(404, "No such exec instance: " + id);
    return nullptr;
  }
  const Result<const ContainerStatus*> container = find_container(*call.api, exec->container_id);
  if (!container) {
    call.exchange->fail(404, "No such container: " + id);
    return nullptr;
  }
  if (exec->state != Exec::State::created) {
    const bool over = exec->state == Exec::State::finished;
    call.exchange->fail(409,
                        "exec command " + id + (over ? " has already run" : " is already running"));
    return nullptr;
  }
  std::string refused = refusal(**container, (*container)->id);
  if (refused.empty() && (*container)->run != exec->run)
    refused = "container " + exec->container_id + " was restarted since exec " + id +
              " was created: create another";
  if (!refused.empty()) {
    call.exchange->fail(409, refused);
    return nullptr;
  }
  return exec;
}

ExecSessionOrder order_for(const Exec& exec, const StartOptions& options) {
  ExecSessionOrder order;
  order.container = {exec.container_id, exec.run};
  order.argv = exec.spec.argv;
  order.env = exec.spec.env;
  order.user = exec.spec.user;
  order.cwd = exec.spec.working_dir;
  order.privileged = exec.spec.privileged;
  order.tty = exec.spec.tty;
  const ConsoleSize size = exec.pending_size       ? *exec.pending_size
                           : options.console.set() ? options.console
                                                   : exec.spec.console;
  order.rows = size.rows;
  order.columns = size.columns;
  order.detached = options.detach;
  if (!options.detach && !exec.spec.tty) {
    order.attach_stdin = exec.spec.attach_stdin;
    order.attach_stdout = exec.spec.attach_stdout;
    order.attach_stderr = exec.spec.attach_stderr;
  }
  return order;
}

// The end of a session's story, in the order that clients rely on: the exit code can be asked for,
// then the event, then the end of the output.
void settle(const ApiContext& api, Exec& exec, int code) {
  api.execs->finish(exec, code);
  if (api.stats) --api.stats->exec_sessions;
  tell(api, exec, "exec_die", {{"exitCode", std::to_string(code)}});
}

void release(const ApiContext& api, Exec& exec) {
  if (exec.io && api.stats) {
    api.stats->exec_bytes_in_total += exec.io->bytes_in();
    api.stats->exec_bytes_out_total += exec.io->bytes_out();
  }
  exec.io.reset();
  exec.session.reset();
}

ExecFdsOfOurs take_fds(ExecSession& session) {
  ExecFdsOfOurs fds;
  fds.in = session.take_stdin();
  fds.out = session.take_stdout();
  fds.err = session.take_stderr();
  fds.terminal = session.take_terminal();
  return fds;
}

// What the engine tells about EXEC. ON_DECIDED: whether it could be started, for a client that only
// waits for that.
ExecSessionHandlers engine_handlers(const ApiContext& api, const std::shared_ptr<Exec>& kept,
                                    std::function<void(const std::string& error)> on_decided) {
  const std::weak_ptr<Exec> weak = kept;
  ExecSessionHandlers handlers;
  handlers.on_started = [&api, weak, on_decided](pid_t pid) {
    const std::shared_ptr<Exec> exec = weak.lock();
    if (!exec) return;
    exec->pid = pid;
    exec->state = Exec::State::running;
    tell(api, *exec, "exec_start: " + words(exec->spec.argv));
    if (exec->io && exec->spec.tty) exec->io->start(exec->io, take_fds(*exec->session));
    if (exec->pending_size)
      static_cast<void>(
          exec->session->resize(exec->pending_size->rows, exec->pending_size->columns));
    // A kill before there was a process has reached nobody.
    if (exec->io && exec->io->client_vanished()) exec->session->kill();
    if (on_decided) on_decided({});
  };
  handlers.on_failed = [&api, weak, on_decided](int code, const std::string& text) {
    const std::shared_ptr<Exec> exec = weak.lock();
    if (!exec) return;
    settle(api, *exec, code);
    if (exec->io) {
      exec->io->fail(text);
    } else {
      release(api, *exec);
    }
    if (on_decided) on_decided(text);
  };
  handlers.on_exited = [&api, weak](int code) {
    const std::shared_ptr<Exec> exec = weak.lock();
    if (!exec) return;
    settle(api, *exec, code);
    // What it left in the background goes on, but not for a client that went away.
    if (exec->session && exec->io && exec->io->client_vanished()) exec->session->kill();
    if (exec->io) {
      exec->io->exited();
    } else {
      release(api, *exec);
    }
  };
  return handlers;
}

ExecIo::Handlers io_handlers(const ApiContext& api, const std::shared_ptr<Exec>& kept) {
  const std::weak_ptr<Exec> weak = kept;
  ExecIo::Handlers handlers;
  handlers.on_client_gone = [weak] {
    const std::shared_ptr<Exec> exec = weak.lock();
    if (exec && exec->session && exec->state != Exec::State::finished) exec->session->kill();
  };
  handlers.on_detached = [&api, weak] {
    if (const std::shared_ptr<Exec> exec = weak.lock()) tell(api, *exec, "exec_detach");
  };
  handlers.on_done = [&api, weak] {
    if (const std::shared_ptr<Exec> exec = weak.lock()) release(api, *exec);
  };
  return handlers;
}

// 101 to a client that asked for it, 200 to one that does not know.
void hijack(const ApiCall& call, bool multiplexed) {
  HttpHead head;
  head.status = call.exchange->request().upgrade ? 101 : 200;
  head.content_type = "application/vnd.docker.raw-stream";
  if (head.status == 101) {
    if (multiplexed && call.minor >= 42)
      head.content_type = "application/vnd.docker.multiplexed-stream";
    head.fields = {{"Connection", "Upgrade"}, {"Upgrade", "tcp"}};
  }
  call.exchange->hijack(head);
  call.exchange->pause_reading();
}

// Hands the order over; false if the call was answered.
bool launch(const ApiCall& call, const std::shared_ptr<Exec>& exec, const StartOptions& options,
            std::function<void(const std::string&)> on_decided) {
  exec->state = Exec::State::starting;
  Result<std::unique_ptr<ExecSession>> session = call.api->exec(
      order_for(*exec, options), engine_handlers(*call.api, exec, std::move(on_decided)));
  if (call.api->stats) {
    ++call.api->stats->exec_sessions;
    ++call.api->stats->exec_sessions_total;
  }
  if (!session) {
    settle(*call.api, *exec, 126);
    fail_call(call, session.error());
    return false;
  }
  exec->session = std::move(*session);
  return true;
}

void start_detached(const ApiCall& call, const std::shared_ptr<Exec>& exec,
                    const StartOptions& options) {
  const auto decided = [exchange = call.exchange](const std::string& error) {
    if (error.empty()) {
      exchange->respond({200, "", "", {}});
    } else {
      exchange->fail(400, error);
    }
  };
  if (!launch(call, exec, options, decided) || !exec->spec.tty) return;
  exec->io = std::make_shared<ExecIo>(*call.api->loop, nullptr, ExecIo::Options{},
                                      io_handlers(*call.api, exec));
}

void start_attached(const ApiCall& call, const std::shared_ptr<Exec>& exec,
                    const StartOptions& options) {
  if (!launch(call, exec, options, nullptr)) return;
  hijack(call, !options.tty);
  ExecIo::Options io;
  io.framed = !options.tty;
  io.forward_input = exec->spec.attach_stdin;
  if (exec->spec.tty && exec->spec.attach_stdin) io.detach_sequence = exec->spec.detach_sequence;
  exec->opened_stdin = exec->spec.attach_stdin;
  exec->io = std::make_shared<ExecIo>(*call.api->loop, call.exchange, std::move(io),
                                      io_handlers(*call.api, exec));
  if (!exec->spec.tty) exec->io->start(exec->io, take_fds(*exec->session));
}

void post_start(const ApiCall& call) {
  const Result<StartOptions> options = read_start(call);
  if (!options) {
    fail_call(call, options.error());
    return;
  }
  const std::shared_ptr<Exec> exec = startable(call);
  if (!exec) return;
  if (!call.api->exec) {
    call.exchange->fail(501, "this agent cannot run commands in containers");
  } else if (options->detach) {
    start_detached(call, exec, *options);
  } else {
    start_attached(call, exec, *options);
  }
}

// ---- resize, kill, inspect

std::shared_ptr<Exec> exec_of(const ApiCall& call) {
  std::shared_ptr<Exec> exec = call.api->execs->find(call.params.front());
  if (!exec) call.exchange->fail(404, "No such exec instance: " + call.params.front());
  return exec;
}

void post_resize(const ApiCall& call) {
  const std::optional<std::pair<int, int>> size = read_resize(call);
  if (!size) return;
  const std::shared_ptr<Exec> exec = exec_of(call);
  if (!exec) return;
  if (exec->state == Exec::State::finished) {
    call.exchange->fail(409, "exec command " + exec->id + " has already run");
    return;
  }
  exec->pending_size = ConsoleSize{size->first, size->second};
  if (exec->state == Exec::State::running) {
    const Status resized = exec->session->resize(size->first, size->second);
    if (!resized) {
      fail_call(call, resized.error());
      return;
    }
  }
  call.exchange->respond({200, "", "", {}});
}

void post_kill(const ApiCall& call) {
  const std::string text = call.query.text("signal");
  const Result<int> signal = parse_signal(text.empty() ? "KILL" : text);
  if (!signal || *signal == 0) {
    call.exchange->fail(400, "invalid signal: " + text);
    return;
  }
  const std::shared_ptr<Exec> exec = exec_of(call);
  if (!exec) return;
  if (exec->state != Exec::State::running || !exec->session) {
    call.exchange->fail(409, "exec command " + exec->id + " is not running");
    return;
  }
  const Status sent = exec->session->signal(*signal);
  if (sent) {
    call.exchange->respond({204, "", "", {}});
  } else {
    call.exchange->fail(sent.error().code == Errc::not_found ? 409 : http_status(sent.error()),
                        sent.error().text);
  }
}

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view three = bytes.substr(i, 3);
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < three.size() ? static_cast<unsigned char>(three[k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k)
      text += k <= three.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

void get_exec(const ApiCall& call) {
  const std::shared_ptr<Exec> exec = exec_of(call);
  if (!exec) return;
  const ExecSpec& spec = exec->spec;
  nlohmann::ordered_json process;
  process["tty"] = spec.tty;
  process["entrypoint"] = spec.argv.front();
  process["arguments"] = std::vector<std::string>(spec.argv.begin() + 1, spec.argv.end());
  process["privileged"] = spec.privileged;
  if (!spec.user.empty()) process["user"] = spec.user;
  nlohmann::ordered_json object;
  object["ID"] = exec->id;
  object["Running"] = exec->state == Exec::State::running || exec->state == Exec::State::starting;
  object["ExitCode"] = nullptr;
  if (exec->exit_code) object["ExitCode"] = *exec->exit_code;
  object["ProcessConfig"] = std::move(process);
  object["OpenStdin"] = spec.attach_stdin;
  object["OpenStderr"] = spec.attach_stderr;
  object["OpenStdout"] = spec.attach_stdout;
  object["CanRemove"] = exec->state == Exec::State::finished;
  object["ContainerID"] = exec->container_id;
  object["DetachKeys"] = base64(spec.detach_sequence);
  object["Pid"] = exec->pid;
  respond_json(call, json_text(object));
}

constexpr std::array kRoutes{
    Route{"POST", "/containers/{id}/exec", post_create},
    Route{"POST", "/exec/{id}/start", post_start},
    Route{"POST", "/exec/{id}/resize", post_resize},
    Route{"POST", "/exec/{id}/kill", post_kill},
    Route{"GET", "/exec/{id}/json", get_exec},
};

}  // namespace

std::span<const Route> exec_routes() { return kRoutes; }

}  // namespace keepwell
