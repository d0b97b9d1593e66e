#include "runtime/host_command.h"

#include <fcntl.h>

#include "runtime/loop.h"

extern char** environ;

namespace keepwell {

namespace {

constexpr std::size_t kOutputKeptBytes = 16 * 1024;
constexpr Duration kDrainGrace = std::chrono::milliseconds(50);
constexpr Duration kKillGrace = std::chrono::seconds(2);

}  // namespace

struct HostCommands::Run {
  explicit Run(Loop& loop) : capture(loop), deadline(loop) {}

  OutputCapture capture;
  Timer deadline;
  std::unique_ptr<EnterProcess> process;
  HostCommandResult result;
  Done on_done;
};

std::shared_ptr<const ExecPlanBase> host_command_base() {
  auto base = std::make_shared<ExecPlanBase>(host_exec_plan_base());
  base->env.clear();
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    if (std::string_view(*entry).find('=') != std::string_view::npos)
      base->env.emplace_back(*entry);
  return base;
}

HostCommands::HostCommands(Loop& loop, KeeperClient& keeper)
    : loop_(&loop),
      keeper_(&keeper),
      base_(host_command_base()),
      null_(::open("/dev/null", O_RDWR | O_CLOEXEC)) {}

HostCommands::~HostCommands() = default;

void HostCommands::run(const HostCommand& command, Done on_done) {
  std::uint64_t number = next_++;
  Run& run = *runs_.emplace(number, std::make_unique<Run>(*loop_)).first->second;
  run.on_done = std::move(on_done);

  auto give_up = [&](const Error& error) {
    run.result.output = error.text;
    run.deadline.start_after(Duration{0},
                             [this, number] { finish(number, runs_[number]->result); });
  };
  Result<UniqueFd> captured = run.capture.open(kOutputKeptBytes);
  if (!captured) return give_up(captured.error());

  auto or_else = [](int fd, int other) { return fd >= 0 ? fd : other; };
  EnterOrder order;
  order.base = base_;
  order.request.argv = command.argv;
  order.request.cwd = command.cwd;
  order.stdio = {or_else(command.stdin_fd, null_.get()),
                 or_else(command.stdout_fd, captured->get()),
                 or_else(command.stderr_fd, captured->get())};
  order.cgroup_procs = command.cgroup_procs;
  auto process = EnterProcess::start(*loop_, *keeper_, order,
                                     {.on_running = [&run] { run.result.started = true; },
                                      .on_failed =
                                          [this, &run, number](const EnterReport& report) {
                                            run.result.output = report.text;
                                            run.result.status = report.exit_code;
                                            finish(number, run.result);
                                          },
                                      .on_exited =
                                          [this, &run, number](const ExitRecord& record) {
                                            run.result.status = record.status();
                                            run.deadline.stop();
                                            run.capture.finish(kDrainGrace, [this, number] {
                                              finish(number, runs_[number]->result);
                                            });
                                          }});
  if (!process) return give_up(process.error());
  run.process = std::move(*process);
  run.deadline.start_after(command.timeout, [this, &run, number] {
    run.result.timed_out = true;
    run.process->kill_group();
    // One that cannot be killed (disk wait) must not hold up its caller for ever.
    run.deadline.start_after(kKillGrace, [this, number] { finish(number, runs_[number]->result); });
  });
}

void HostCommands::finish(std::uint64_t number, HostCommandResult result) {
  auto found = runs_.find(number);
  if (found == runs_.end()) return;
  std::unique_ptr<Run> run = std::move(found->second);
  runs_.erase(found);
  if (result.output.empty()) result.output = run->capture.take();
  while (!result.output.empty() && result.output.back() == '\n') result.output.pop_back();
  Done on_done = std::move(run->on_done);
  run.reset();
  on_done(result);
}

}  // namespace keepwell
