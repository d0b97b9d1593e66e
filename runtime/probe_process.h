// One exec probe: its program in the container, in a cgroup leaf of its own. The result is what the
// program itself returned; what it left behind is killed, and the end is told only when all of it
// is gone. However the program behaves (floods, forks, holds its pipe open, cannot be killed), a
// probe costs bounded memory and ends in bounded time after kill(). Private to the engine.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "runtime/container.h"
#include "runtime/engine_context.h"
#include "runtime/enter_process.h"
#include "runtime/oci/runtime_exec.h"
#include "runtime/output_capture.h"
#include "runtime/timer.h"

namespace keepwell {

class ProbeProcess {
 public:
  // REQUIRES: CONTAINER lives as long as this object.
  ProbeProcess(EngineContext& context, Container& container, ProbeOrder order);
  ~ProbeProcess();

  // Starts it. ON_ENDED is called once, from the loop and never from inside; it may destroy this
  // object. ProbeStarted is emitted before, if the program came to run.
  void start(std::function<void(ProbeEnded)> on_ended);

  // Kills all of it. Idempotent.
  void kill();

  // Its container has ended, so it ends too; how it ends says so, unless its own program had
  // returned.
  void container_ended();

  const ContainerRef& container() const { return order_.container; }

 private:
  Status spawn();
  Status fill(EnterOrder& enter);
  void use_zygote(EnterOrder& enter);
  void judge_zygote();
  bool container_runs() const;
  void kill_all();
  void wait_for_death();
  void runtime_failed(const std::string& complaint);
  void program_ended(const ExitRecord& record);
  void drained();
  void wait_until_empty();
  void poll_leaf();
  void finish(bool clean);

  EngineContext* context_;
  Container* container_;
  ProbeOrder order_;
  std::function<void(ProbeEnded)> on_ended_;
  OutputCapture capture_;
  std::unique_ptr<EnterProcess> process_;
  std::shared_ptr<ProbeLeaf> leaf_;
  std::optional<RuntimeExec> runtime_exec_;  // with exec: runtime; there is no leaf then
  Timer timer_;
  FdWatch leaf_watch_;
  Instant give_up_at_{};
  ProbeEnded ended_;
  bool killed_ = false, program_over_ = false, finishing_ = false, unexplained_kill_ = false,
       container_ended_ = false, frozen_ = false;
  SpawnId zygote_ = 0;           // that was to make it
  bool zygote_refused_ = false;  // it did not, or nobody knows
  bool zygote_killed_ = false;   // it did, and the process was killed, maybe by the kernel
};

}  // namespace keepwell
