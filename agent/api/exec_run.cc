#include "agent/api/exec_run.h"

#include "agent/api/exec_io.h"
#include "exporters/agent_stats.h"
#include "runtime/exec_session.h"

namespace keepwell {
namespace {

ExecSessionOrder order_for(const Exec& exec, const ExecStart& start) {
  ExecSessionOrder order;
  order.container = {exec.container_id, exec.run};
  order.argv = exec.spec.argv;
  order.env = exec.spec.env;
  order.user = exec.spec.user;
  order.cwd = exec.spec.working_dir;
  order.privileged = exec.spec.privileged;
  order.tty = exec.spec.tty;
  const ConsoleSize size = exec.pending_size     ? *exec.pending_size
                           : start.console.set() ? start.console
                                                 : exec.spec.console;
  order.rows = size.rows;
  order.columns = size.columns;
  order.detached = start.detach;
  if (!start.detach && !exec.spec.tty) {
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
  tell_exec(api, exec, "exec_die", {{"exitCode", std::to_string(code)}});
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
    tell_exec(api, *exec, "exec_start");
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
    if (const std::shared_ptr<Exec> exec = weak.lock()) tell_exec(api, *exec, "exec_detach");
  };
  handlers.on_done = [&api, weak] {
    if (const std::shared_ptr<Exec> exec = weak.lock()) release(api, *exec);
  };
  return handlers;
}

// Hands the order over; false if the call was answered.
bool launch(const ApiCall& call, const std::shared_ptr<Exec>& exec, const ExecStart& start,
            std::function<void(const std::string&)> on_decided) {
  exec->state = Exec::State::starting;
  Result<std::unique_ptr<ExecSession>> session = call.api->exec(
      order_for(*exec, start), engine_handlers(*call.api, exec, std::move(on_decided)));
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
                    const ExecStart& start) {
  const auto decided = [exchange = call.exchange](const std::string& error) {
    if (error.empty()) {
      exchange->respond({200, "", "", {}});
    } else {
      exchange->fail(400, error);
    }
  };
  if (!launch(call, exec, start, decided) || !exec->spec.tty) return;
  exec->io = std::make_shared<ExecIo>(*call.api->loop, nullptr, ExecIo::Options{},
                                      io_handlers(*call.api, exec));
}

void start_attached(const ApiCall& call, const std::shared_ptr<Exec>& exec,
                    const ExecStart& start) {
  if (!launch(call, exec, start, nullptr)) return;
  hijack_stream(call, !start.tty);
  call.exchange->pause_reading();
  ExecIo::Options io;
  io.framed = !start.tty;
  io.forward_input = exec->spec.attach_stdin;
  if (exec->spec.tty && exec->spec.attach_stdin) io.detach_sequence = exec->spec.detach_sequence;
  exec->io = std::make_shared<ExecIo>(*call.api->loop, call.exchange, std::move(io),
                                      io_handlers(*call.api, exec));
  if (!exec->spec.tty) exec->io->start(exec->io, take_fds(*exec->session));
}

}  // namespace

void run_exec(const ApiCall& call, const std::shared_ptr<Exec>& exec, const ExecStart& start) {
  if (!call.api->exec) {
    call.exchange->fail(501, "this agent cannot run commands in containers");
  } else if (start.detach) {
    start_detached(call, exec, start);
  } else {
    start_attached(call, exec, start);
  }
}

void tell_exec(const ApiContext& api, const Exec& exec, std::string action,
               std::vector<std::pair<std::string, std::string>> attributes) {
  attributes.emplace_back("execID", exec.id);
  attributes.emplace_back("execType", "exec");
  if (action == "exec_create" || action == "exec_start") {
    const char* between = ": ";
    for (const std::string& word : exec.spec.argv) action += std::exchange(between, " ") + word;
  }
  publish_event(api, exec.container_id, std::move(action), std::move(attributes));
}

}  // namespace keepwell
