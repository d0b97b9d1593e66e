// Exec sessions as the API knows them: created (a record), started (a process in the container),
// finished (an exit code that can be asked for until it is forgotten). The record outlives process
// and connection; who talks to the process is agent/api/exec.cc's business.
//
// An exit code is settled before anybody is told that the output has ended, because the docker
// client asks for it right then.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/result.h"
#include "config/time.h"
#include "runtime/timer.h"

namespace keepwell {

class ExecIo;
class ExecSession;
class Loop;

inline constexpr std::size_t kExecsMax = 10'000;  // remembered at once
// Of them, those that have ended: twice as many as can be attached at once, so that whoever asks
// for an exit code finds it; about 1 KiB each.
inline constexpr std::size_t kEndedExecsMax = 2'000;
inline constexpr Duration kExecKept = std::chrono::minutes(5);            // after it has ended
inline constexpr Duration kExecUnstartedKept = std::chrono::minutes(10);  // if nobody starts it
inline constexpr std::size_t kExecUnstartedFor = 2'000;  // nor while so many others are created

struct ConsoleSize {
  int rows = 0, columns = 0;

  bool set() const { return rows > 0 && columns > 0; }
};

// What POST /containers/{id}/exec asked for.
struct ExecSpec {
  std::vector<std::string> argv;
  std::vector<std::string> env;
  std::string user;
  std::string working_dir;
  std::string detach_keys;      // as asked; empty: the default
  std::string detach_sequence;  // its bytes
  bool tty = false;
  bool privileged = false;
  bool attach_stdin = false, attach_stdout = false, attach_stderr = false;
  ConsoleSize console;
};

struct Exec {
  Exec();
  ~Exec();
  enum class State { created, starting, running, finished };

  std::string id;  // 64 hex digits
  std::string container_id;
  std::string container_name;
  std::uint64_t run = 0;  // of the container
  ExecSpec spec;
  State state = State::created;
  int pid = 0;
  std::optional<int> exit_code;
  Instant created{}, ended{};
  std::optional<ConsoleSize> pending_size;  // of a resize before the terminal was there
  std::unique_ptr<ExecSession> session;     // while starting or running
  std::shared_ptr<ExecIo> io;               // who carries its input and output, likewise
};

class ExecSessions {
 public:
  // SEED: for ids; no two agents may share it.
  ExecSessions(Loop& loop, std::uint64_t seed);
  ~ExecSessions();
  ExecSessions(const ExecSessions&) = delete;
  ExecSessions& operator=(const ExecSessions&) = delete;

  // Remembers a new session. Errc::unavailable when there are too many.
  Result<std::shared_ptr<Exec>> create(const std::string& container_id,
                                       const std::string& container_name, std::uint64_t run,
                                       ExecSpec spec);

  // By full id; null: none, or forgotten.
  std::shared_ptr<Exec> find(const std::string& id) const;

  // Ids of a container's sessions that have not finished: inspect's ExecIDs.
  std::vector<std::string> unfinished(const std::string& container_id) const;

  // EXEC has ended with CODE. Of what was asked for only what can be inspected is kept.
  void finish(Exec& exec, int code);

  // The container has ended: what was never started is forgotten.
  void container_ended(const std::string& container_id);

  std::size_t size() const { return execs_.size(); }

 private:
  std::string new_id();
  void forget_ended(std::size_t keep);
  void forget_old();

  std::uint64_t random_state_;
  std::map<std::string, std::shared_ptr<Exec>> execs_;
  std::deque<std::string> created_;  // ids of the last kExecUnstartedFor
  std::deque<std::string> ended_;    // ids, in the order of their ends
  Timer sweeper_;
};

}  // namespace keepwell
