#include "runtime/enter_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/loop.h"

namespace keepwell {

namespace {

constexpr unsigned kPidfdSignalProcessGroup = 1u << 2;  // Linux 6.9

int pidfd_send_signal(int pidfd, int number, unsigned flags) {
  return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, flags));
}

void kill_group_of(int pidfd) {
  if (pidfd_send_signal(pidfd, SIGKILL, kPidfdSignalProcessGroup) != 0)
    pidfd_send_signal(pidfd, SIGKILL, 0);
}

Result<ExecPlan> plan_of(const EnterOrder& order, int status) {
  if (order.zygote != 0) return ExecPlan{{}, {order.stdio[1]}};
  ExecFds fds{.stdio = order.stdio,
              .status = status,
              .target_pidfd = order.target_pidfd,
              .target_root = order.target_root,
              .tty_socket = order.tty_socket,
              .cgroup_procs = order.cgroup_procs};
  if (order.kept != nullptr) return order.kept->build(order.base, order.request, fds);
  return build_exec_plan(*order.base, order.request, fds);
}

}  // namespace

EnterProcess::EnterProcess(Loop& loop, KeeperClient& keeper, const EnterOrder& order,
                           Handlers handlers)
    : keeper_(&keeper),
      base_(order.base),
      request_(order.request),
      handlers_(std::move(handlers)),
      status_watch_(loop),
      zygote_status_(order.zygote_status),
      durable_(order.durable),
      alive_(std::make_shared<bool>(true)) {}

EnterProcess::~EnterProcess() { *alive_ = false; }

Result<std::unique_ptr<EnterProcess>> EnterProcess::start(Loop& loop, KeeperClient& keeper,
                                                          const EnterOrder& order,
                                                          Handlers handlers) {
  std::unique_ptr<EnterProcess> made(new EnterProcess(loop, keeper, order, std::move(handlers)));
  EnterProcess* self = made.get();
  UniqueFd write_end;
  if (order.zygote == 0) {
    Result<UniqueFd> watched = made->watch_status();
    if (!watched) return fail(watched.error());
    write_end = std::move(*watched);
  } else {
    made->status_closed_ = true;
  }
  Result<ExecPlan> plan = plan_of(order, write_end.get());
  if (!plan) return fail(plan.error());

  std::shared_ptr<bool> alive = made->alive_;
  bool durable = order.durable;
  KeeperClient* client = &keeper;
  made->id_ = keeper.spawn({.fds = plan->fds,
                            .durable = order.durable,
                            .kill_cgroup = order.kill_cgroup,
                            .key = order.key,
                            .zygote = order.zygote},
                           {.on_started =
                                [self, alive, durable](pid_t pid, UniqueFd pidfd) {
                                  // Too late: whoever had ordered it has given up on it.
                                  if (!*alive && !durable) kill_group_of(pidfd.get());
                                  if (!*alive) return;
                                  self->pid_ = pid;
                                  self->pidfd_ = std::move(pidfd);
                                  self->started_ = true;
                                  if (!self->status_closed_) self->read_status();
                                  self->settle();
                                },
                            .on_failed =
                                [self, alive](Error error) {
                                  if (!*alive) return;
                                  self->refused_ = true;
                                  self->refusal_ = std::move(error);
                                  self->settle();
                                },
                            .on_exited =
                                [self, alive, durable, client](const ExitRecord& record) {
                                  if (!*alive) {
                                    if (durable) client->ack(record.id);  // nobody wants to know
                                    return;
                                  }
                                  self->exited_ = true;
                                  self->exit_ = record;
                                  self->settle();
                                }});
  return made;
}

// Makes the status pipe; returns its write end.
Result<UniqueFd> EnterProcess::watch_status() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("cannot make a status pipe");
  status_.reset(ends[0]);
  UniqueFd write_end(ends[1]);
  Status watched =
      status_watch_.start(status_.get(), {.readable = true, .hangup = true}, [this](Ready) {
        read_status();
        if (status_closed_) settle();
      });
  if (!watched) return fail(watched.error());
  return write_end;
}

void EnterProcess::read_status() {
  char buffer[64];
  while (!status_closed_) {
    ssize_t got = read(status_.get(), buffer, sizeof buffer);
    if (got > 0) {
      status_bytes_.append(buffer, static_cast<std::size_t>(got));
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      status_closed_ = true;
    } else if (errno == EAGAIN) {
      return;
    }
  }
  status_watch_.stop();
  status_.reset();
}

void EnterProcess::settle() {
  if ((refused_ || exited_) && !status_closed_) {
    read_status();  // what it had to say is there by now
    if (!status_closed_) {
      status_closed_ = true;
      status_watch_.stop();
      status_.reset();
    }
  }
  if (!status_closed_) {
    if (started_ && handlers_.on_entered) std::exchange(handlers_.on_entered, nullptr)();
    return;
  }
  if (exited_ && zygote_status_) {
    char buffer[64];
    ssize_t got = read(zygote_status_->get(), buffer, sizeof buffer);
    if (got > 0) status_bytes_.assign(buffer, static_cast<std::size_t>(got));
    zygote_status_.reset();
  }
  std::optional<EnterFailure> failure = decode_enter_status(status_bytes_);
  if (failure && (refused_ || exited_)) {
    if (exited_ && durable_) keeper_->ack(id_);
    return failed(explain_enter_failure(*failure, *base_, request_));
  }
  if (refused_) return failed({.blame = EnterBlame::ours, .exit_code = 128, .text = refusal_.text});
  if (failure || !started_) return;

  std::shared_ptr<bool> alive = alive_;
  if (!running_) {
    running_ = true;
    if (handlers_.on_running) std::exchange(handlers_.on_running, nullptr)();
    if (!*alive) return;
  }
  if (!exited_ || !handlers_.on_exited) return;
  ExitRecord record = exit_;  // the handler may destroy this object
  std::exchange(handlers_.on_exited, nullptr)(record);
}

void EnterProcess::failed(EnterReport report) {
  if (handlers_.on_failed) std::exchange(handlers_.on_failed, nullptr)(report);
}

Status EnterProcess::signal(int number) const {
  if (!pidfd_ || exited_)
    return fail(Errc::not_found, "cannot send a signal: the process is not running");
  if (pidfd_send_signal(pidfd_.get(), number, 0) != 0)
    return fail_errno("cannot send signal " + std::to_string(number) + " to process " +
                      std::to_string(pid_));
  return {};
}

void EnterProcess::kill_group() const {
  if (pidfd_) kill_group_of(pidfd_.get());
}

bool EnterProcess::keeper_is_silent() const {
  if (exited_ || refused_) return false;
  pollfd over{pidfd_.get(), POLLIN, 0};
  return !started_ || (pidfd_ && ::poll(&over, 1, 0) == 1);
}

}  // namespace keepwell
