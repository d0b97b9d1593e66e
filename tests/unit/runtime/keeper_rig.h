// A real keeper under test. Its agent is a relay that gives its control socket to the test, so that
// the test plays the agent with a real KeeperClient; killing the relay is the agent's death.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/keeper_client.h"
#include "runtime/loop.h"
#include "runtime/unique_fd.h"

namespace keepwell::test {

struct TempDir {
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string path;
};

class KeeperRig {
 public:
  explicit KeeperRig(std::string logger = "");  // path; empty: one that does nothing
  ~KeeperRig();  // ends the keeper by SIGKILL if it still runs, and what it has spawned
  KeeperRig(const KeeperRig&) = delete;
  KeeperRig& operator=(const KeeperRig&) = delete;

  Loop& loop() { return *loop_; }

  // Waits for the (next) agent, and becomes it.
  KeeperClient& become_agent(KeeperClient::Handlers handlers = {});
  // The same, without a client of ours: the control socket itself.
  UniqueFd become_raw_agent();
  KeeperClient& client() { return *client_; }
  void kill_agent();                    // by SIGKILL; its client is gone
  void exit_agent(unsigned char code);  // its client is gone

  // Spawns `sh -c SCRIPT` (by the fake enter).
  SpawnId sh(const std::string& script, bool durable, SpawnHandlers handlers,
             const std::string& key = "", const std::string& fake_enter_order = "");

  // Runs the loop until DONE, for at most 20 s; false then.
  bool run_until(const std::function<bool()>& done);

  pid_t keeper() const { return keeper_; }
  pid_t agent() const { return agent_; }
  int wait_keeper();  // its wait status, within 20 s; -1 if it does not end

  std::vector<pid_t> spawned;  // killed at the end

 private:
  TempDir dir_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<KeeperClient> client_;
  UniqueFd listener_;
  UniqueFd to_relay_;
  pid_t keeper_ = 0;
  pid_t agent_ = 0;
};

// A memfd holding TEXT, at its beginning.
UniqueFd text_fd(const std::string& text);

std::size_t open_descriptors(pid_t pid);

}  // namespace keepwell::test
