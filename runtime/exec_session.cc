#include "runtime/exec_session.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "runtime/container.h"
#include "runtime/container_terminal.h"
#include "runtime/engine_context.h"
#include "runtime/enter_process.h"

namespace keepwell {

namespace {

struct Pipe {
  UniqueFd read_end, write_end;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("cannot make a pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// "NAME" without '=' takes NAME out of what BASE and earlier entries say; the rest is left to the
// plan.
std::vector<std::string> merged(const std::vector<std::string>& base,
                                const std::vector<std::string>& extra) {
  std::vector<std::string> env = base;
  for (const std::string& entry : extra) {
    std::string name = entry.substr(0, entry.find('='));
    std::erase_if(env, [&](const std::string& one) { return one.starts_with(name + "="); });
    if (entry.find('=') != std::string::npos && !name.empty()) env.push_back(entry);
  }
  return env;
}

}  // namespace

// What the program left in the background goes on, as in Docker.
ExecSession::~ExecSession() {
  if (leaf_) leaves_->give_back(std::move(leaf_));
}

Result<std::unique_ptr<ExecSession>> ExecSession::start(EngineContext& context,
                                                        Container& container,
                                                        const ExecSessionOrder& order,
                                                        ExecSessionHandlers handlers) {
  std::unique_ptr<ExecSession> made(new ExecSession());
  ExecSession* self = made.get();
  made->handlers_ = std::move(handlers);

  EnterOrder enter;
  enter.base = container.plan_base();
  enter.request.argv = order.argv;
  enter.request.env = merged(enter.base->env, order.tty ? std::vector<std::string>{"TERM=xterm"}
                                                        : std::vector<std::string>{});
  enter.request.env = merged(enter.request.env, order.env);
  enter.request.env_replaces = true;
  enter.request.user = order.user;
  if (order.user.empty() && container.order().spec->runtime == RuntimeKind::process)
    enter.request.user = container.order().spec->user;
  enter.request.cwd = order.cwd;
  enter.request.privileged = order.privileged;
  if (order.privileged) container.forbid_zygotes();
  enter.request.tty = order.tty;
  enter.request.tty_rows = static_cast<std::uint16_t>(std::clamp(order.rows, 0, 0xffff));
  enter.request.tty_columns = static_cast<std::uint16_t>(std::clamp(order.columns, 0, 0xffff));
  enter.target_pidfd = container.target_pidfd();
  enter.target_root = container.target_root();
  enter.stdio = {context.null.get(), context.null.get(), context.null.get()};

  Pipe in, out, err;
  UniqueFd tty_child;
  if (order.tty) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return fail_errno("cannot make a socket pair");
    made->tty_socket_.reset(ends[0]);
    tty_child.reset(ends[1]);
    enter.tty_socket = tty_child.get();
  } else {
    bool wanted[] = {order.attach_stdin, order.attach_stdout, order.attach_stderr};
    Pipe* pipes[] = {&in, &out, &err};
    for (std::size_t i = 0; i < 3; ++i) {
      if (!wanted[i]) continue;
      Result<Pipe> pipe = make_pipe();
      if (!pipe) return fail(pipe.error());
      *pipes[i] = std::move(*pipe);
      enter.stdio[i] = i == 0 ? pipes[i]->read_end.get() : pipes[i]->write_end.get();
    }
    made->stdin_ = std::move(in.write_end);
    made->stdout_ = std::move(out.read_end);
    made->stderr_ = std::move(err.read_end);
  }

  if (order.detached) {
    enter.durable = true;
    enter.key = "exec " + order.container.id;
    enter.cgroup_procs = container.join_fds();
  } else if (context.cgroups) {
    made->leaves_ = container.exec_leaves();
    Result<std::unique_ptr<ExecLeaf>> leaf = made->leaves_->take();
    if (!leaf) return fail(leaf.error());
    made->leaf_ = std::move(*leaf);
    enter.cgroup_procs = made->leaf_->join;
    if (!context.cgroups->layout.unified_mount.empty())
      enter.kill_cgroup = context.cgroups->layout.unified_mount + made->leaf_->cgroup.path();
  }

  bool detached = order.detached;
  KeeperClient* keeper = &context.keeper;
  Result<std::unique_ptr<EnterProcess>> process =
      EnterProcess::start(context.loop, context.keeper, enter,
                          {.on_running = [self] { self->started(); },
                           .on_failed =
                               [self](const EnterReport& report) {
                                 self->failed(report.exit_code, kExecFailedPrefix + report.text);
                               },
                           .on_exited =
                               [self, detached, keeper](const ExitRecord& record) {
                                 if (detached) keeper->ack(record.id);
                                 self->exited(record.status());
                               }});
  if (!process) return fail(process.error());
  made->process_ = std::move(*process);
  return made;
}

void ExecSession::started() {
  if (tty_socket_) {
    terminal_ = receive_descriptor(tty_socket_.get());
    tty_socket_.reset();
    if (terminal_) own_terminal_.reset(fcntl(terminal_.get(), F_DUPFD_CLOEXEC, 3));
  }
  if (handlers_.on_started) std::exchange(handlers_.on_started, nullptr)(process_->pid());
}

void ExecSession::failed(int exit_code, std::string text) {
  if (handlers_.on_failed) std::exchange(handlers_.on_failed, nullptr)(exit_code, std::move(text));
}

void ExecSession::exited(int exit_code) {
  own_terminal_.reset();
  if (handlers_.on_exited) std::exchange(handlers_.on_exited, nullptr)(exit_code);
}

Status ExecSession::resize(int rows, int columns) {
  if (!own_terminal_) return fail(Errc::conflict, "cannot resize: the session has no terminal");
  winsize size{};
  size.ws_row = static_cast<unsigned short>(std::clamp(rows, 0, 0xffff));
  size.ws_col = static_cast<unsigned short>(std::clamp(columns, 0, 0xffff));
  if (ioctl(own_terminal_.get(), TIOCSWINSZ, &size) != 0)
    return fail_errno("cannot resize the terminal");
  return {};
}

Status ExecSession::signal(int number) { return process_->signal(number); }

void ExecSession::kill() {
  if (leaf_) (void)leaf_->cgroup.kill();
  process_->kill_group();
}

pid_t ExecSession::pid() const { return process_->pid(); }

}  // namespace keepwell
