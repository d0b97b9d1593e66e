// The one seam between deciding and doing, and the only virtual interface in the tree. The driver
// gives an Engine orders; the Engine carries them out in its own time and tells what happened as
// EngineEvents, always from the loop and never from inside the call that gave the order.
// LinuxEngine (linux_engine.h) does it with real containers; agent/simulation/virtual_engine.h does
// it with a clock that nobody waits for.
//
// Every order is answered by exactly one event of the kinds named beside it, whatever happens. A
// container is named by its id and its run: the id stays over restarts, the run counts its starts,
// so that an event of an earlier run can never be taken for one of the present.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/result.h"
#include "config/spec.h"
#include "config/time.h"

namespace keepwell {

struct ContainerRef {
  std::string id;  // 64 lower-case hex digits
  std::uint64_t run = 0;

  bool operator==(const ContainerRef&) const = default;
};

struct StartOrder {
  ContainerRef container;
  std::string name;     // container name
  std::string project;  // for labels and cgroup names
  std::shared_ptr<const ServiceSpec> spec;
};

// What was known of a container when an earlier agent ended.
struct AdoptOrder {
  StartOrder start;
  int pid = 0;                        // 0: it was being started
  std::uint64_t pid_start_ticks = 0;  // field 22 of /proc/PID/stat
  std::string boot_id;
};

using ProbeId = std::uint64_t;  // never used twice by one agent

struct ProbeOrder {
  ProbeId id = 0;
  ContainerRef container;
  std::shared_ptr<const CheckSpec> check;
  bool look_for_tracer = false;   // also if it passes; see ProbeEnded::traced
  bool measure_pressure = false;  // see ProbeEnded::pressure
};

using HookId = std::uint64_t;  // never used twice by one agent

// A program on the host that a check sets off (x-keepwell.hooks).
struct HookOrder {
  HookId id = 0;
  std::string name;
  std::vector<std::string> command;
  Duration timeout{};
  std::vector<std::pair<std::string, std::string>> env;  // on top of the agent's own
  std::string input;                                     // what it reads on standard input
};

// ---- events

struct ContainerStarted {
  ContainerRef container;
  int pid = 0;
  std::uint64_t pid_start_ticks = 0;
  bool adopted = false;        // answers adopt(): it has been running all along
  std::optional<bool> paused;  // with adopted: whether it was found frozen; none: not looked at
  Instant at{};
  WallTime at_wall{};
};

// The container did not come to run; nothing of it is left. exit_code is Docker's 126, 127 or 128.
struct ContainerStartFailed {
  ContainerRef container;
  int exit_code = 128;
  std::string text;
};

struct ContainerExited {
  ContainerRef container;
  bool known = true;  // false: nobody could wait for it; code is then 255 and says nothing
  int code = 0;       // 0 to 255; 128 + signal for a death by signal
  int signal = 0;     // 0: it exited
  bool oom_killed = false;
  Instant at{};
  WallTime at_wall{};
};

struct ContainerPaused {
  ContainerRef container;
  std::string error;  // empty: done; else it goes on running
};
struct ContainerResumed {
  ContainerRef container;
  std::string error;  // empty: done; else it stays paused
};

// An out-of-memory kill happened inside; the container may well go on.
struct ContainerOom {
  ContainerRef container;
};

// The process of an exec probe is in the container, but its program does not run yet. Told only
// where that is not over at once: somebody in the container may be holding it up.
struct ProbeEntered {
  ProbeId probe = 0;
  Instant at{};
  WallTime at_wall{};
};

// The probe's program runs (or its connection is being made): its timeout counts from here.
struct ProbeStarted {
  ProbeId probe = 0;
  Instant at{};
  WallTime at_wall{};
};

// What the kernel says of the time of one probe (PSI): the share of it in which something waited
// for a resource.
struct PressureReading {
  std::string resource;  // cpu, memory, io
  bool of_host = true;   // false: of the container's own cgroup
  double share = 0;      // 0 to 1
};

// The probe and everything that it started are gone.
struct ProbeEnded {
  enum class How {
    exited,        // code is its exit code (128 + signal for a death by signal)
    killed,        // by kill_probe()
    start_failed,  // code 126, 127 or 128 and error say why: no such program, unknown user
    refused,
    reset,
    dns,
    tls,
    http_status,
    body,
    grpc_status,     // http, tcp, grpc: error says what was found
    container_gone,  // the container ended before or under it
    our_fault        // EAGAIN, EMFILE, keeper lost: says nothing about the service
  };
  ProbeId probe = 0;
  How how = How::exited;
  int code = 0;
  std::string error;
  std::string output;  // the first kOutputBytesMax bytes, stdout and stderr as they arrived
  std::uint64_t output_bytes = 0;  // all bytes that were read
  Instant at{};
  WallTime at_wall{};
  Duration cpu{0};
  std::uint64_t max_rss_bytes = 0;
  bool left_over = false;  // processes were still there after its exit and were killed
  std::vector<PressureReading> pressure;  // of one that was killed; empty: this kernel does not say
  std::optional<bool> traced;  // of one that did not pass: whether a debugger is attached
                               // to the container's first process; none: not looked at
  // Processes that the check's last probe left behind and that the container's own first process
  // has not reaped since: they are zombies for as long as the container runs.
  std::uint64_t orphans = 0;
};

// The hook and everything that it started are gone.
struct HookEnded {
  HookId hook = 0;
  int code = 0;       // exit code, or 128 + signal; 126 to 128 where it did not come to run
  std::string error;  // why it failed, with what it wrote; empty: it exited with 0

  bool ok() const { return error.empty(); }
};

using EngineEvent =
    std::variant<ContainerStarted, ContainerStartFailed, ContainerExited, ContainerPaused,
                 ContainerResumed, ContainerOom, ProbeEntered, ProbeStarted, ProbeEnded, HookEnded>;

class Engine {
 public:
  virtual ~Engine() = default;

  // -> ContainerStarted or ContainerStartFailed; later, after a start, one ContainerExited.
  virtual void start(const StartOrder& order) = 0;

  // -> ContainerStarted{adopted}, or ContainerExited (its status known or not), or, where it had
  // not come to run, ContainerStartFailed. Never leaves a second copy running.
  virtual void adopt(const AdoptOrder& order) = 0;

  // Sends a signal to the container's first process. No event: its effect, if any, is an exit.
  // Returns the reason if it could not be delivered.
  virtual Status signal(const ContainerRef& container, int signal) = 0;

  // SIGKILL to every process of the container, also a paused one. -> ContainerExited.
  virtual void kill(const ContainerRef& container) = 0;

  virtual void pause(const ContainerRef& container) = 0;   // -> ContainerPaused
  virtual void resume(const ContainerRef& container) = 0;  // -> ContainerResumed

  // Forgets a container that is not running: bundle, upper layer, cgroups. No event; what cannot be
  // removed now is removed at the next start.
  virtual void remove(const std::string& id) = 0;

  // -> ProbeStarted then ProbeEnded, or ProbeEnded alone where it could not be started; before
  // either, one ProbeEntered may come.
  virtual void start_probe(const ProbeOrder& order) = 0;

  // Kills the probe with everything that it started. -> its ProbeEnded (how: killed, unless it
  // ended by itself).
  virtual void kill_probe(ProbeId probe) = 0;

  // Runs a hook, in a cgroup of its own; killed whole at its timeout. -> HookEnded.
  virtual void run_hook(const HookOrder& order) = 0;
};

}  // namespace keepwell
