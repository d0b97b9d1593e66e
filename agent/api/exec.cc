// Exec sessions: create, start, resize, kill, inspect.
#include <array>
#include <nlohmann/json.hpp>

#include "agent/api/base64.h"
#include "agent/api/exec_request.h"
#include "agent/api/exec_run.h"
#include "agent/api/json_body.h"
#include "agent/api/router.h"
#include "config/signals.h"
#include "exporters/health_json.h"
#include "runtime/container_files.h"
#include "runtime/exec_session.h"
#include "runtime/passwd.h"

namespace keepwell {
namespace {

// Why CONTAINER, which the client called NAME, takes no exec now; "" if it does.
std::string refusal(const ContainerStatus& container, const std::string& name) {
  if (container.state == ServiceState::paused)
    return "Container " + name + " is paused, unpause the container before exec";
  if (is_restarting(container))
    return "Container " + container.id + " is restarting, wait until the container is running";
  if (!is_running(container)) return "container " + container.id + " is not running";
  return {};
}

// Why USER cannot be found in CONTAINER; "" if it can. Docker says so at once. What cannot be read
// safely from outside (a mount over /etc/passwd) is left to the start, which looks inside.
std::string unknown_user(const ApiCall& call, const ContainerStatus& container,
                         const std::string& user) {
  if (user.empty() || !call.api->files || resolve_user(user, "", "")) return {};
  const Result<ContainerFiles> files = call.api->files(container);
  if (!files) return {};
  const Result<std::string> passwd = files->read("/etc/passwd");
  const Result<std::string> group = files->read("/etc/group");
  for (const Result<std::string>* read : {&passwd, &group})
    if (!*read && read->error().code != Errc::not_found) return {};
  const Result<ResolvedUser> found = resolve_user(user, passwd.value_or(""), group.value_or(""));
  return found ? "" : found.error().text;
}

void post_create(const ApiCall& call) {
  if (const Status type = check_json_type(call.exchange->request()); !type) {
    fail_call(call, type.error());
    return;
  }
  Result<ExecSpec> spec = read_exec_create(call.exchange->body(), call.minor);
  if (!spec) {
    fail_call(call, spec.error());
    return;
  }
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  if (const std::string refused = refusal(*container, call.params.front()); !refused.empty()) {
    call.exchange->fail(409, refused);
    return;
  }
  if (const std::string unknown = unknown_user(call, *container, spec->user); !unknown.empty()) {
    call.exchange->fail(400, unknown);
    return;
  }
  const Result<std::shared_ptr<Exec>> exec =
      call.api->execs->create(container->id, container->name, container->run, std::move(*spec));
  if (!exec) {
    fail_call(call, exec.error());
    return;
  }
  tell_exec(*call.api, **exec, "exec_create");
  respond_json(call, json_text({{"Id", (*exec)->id}}), 201);
}

// ---- start

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

void post_start(const ApiCall& call) {
  if (call.minor > 21) {
    const Status type = check_json_type(call.exchange->request());
    if (!type) {
      fail_call(call, type.error());
      return;
    }
  }
  const Result<ExecStart> start = read_exec_start(call.exchange->body(), call.minor);
  if (!start) {
    fail_call(call, start.error());
    return;
  }
  if (const std::shared_ptr<Exec> exec = startable(call)) run_exec(call, exec, *start);
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
